import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Collection;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;
import org.h2.mvstore.MVMap;

/** Serves MongoDB's protocol over an H2 file: {@code Server FILE HOST PORT}. */
public final class Server {

    /** What today's drivers accept; the library's own versions stop at wire version 8. */
    private static final class Version implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
            return 13;
        }
    }

    /** Writes to the file before it acknowledges; H2 alone does so up to a second later, and a kill loses that. */
    private static final class DurableBackend extends H2Backend {
        DurableBackend(String file) {
            super(file);
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            Document answer = super.handleMessage(message);
            if (getMvStore().hasUnsavedChanges()) {
                commit();
            }
            return answer;
        }

        @Override
        protected MongoDatabase openOrCreateDatabase(String name) {
            return new Database(name);
        }

        /** Makes collections of the class below. An inner class, because its parent's constructor makes some. */
        private final class Database extends H2Database {
            Database(String name) {
                super(name, getMvStore(), getCursorRegistry());
            }

            @Override
            protected MongoCollection<Object> openOrCreateCollection(String name, CollectionOptions options) {
                String full = getFullCollectionNamespace(name); // the maps' names are the library's
                MVMap<Object, Document> data = getMvStore().openMap("databases." + full);
                MVMap<String, Object> meta = getMvStore().openMap("meta." + full);
                return new Collection(this, name, options, data, meta, cursorRegistry);
            }
        }
    }

    /** Uses an index for a query of its keys and more; the library scans unless it has just these keys. */
    private static final class Collection extends H2Collection {
        Collection(MongoDatabase database, String name, CollectionOptions options,
                MVMap<Object, Document> data, MVMap<String, Object> meta, CursorRegistry cursors) {
            super(database, name, options, data, meta, cursors);
        }

        @Override
        protected QueryResult matchDocuments(
                Document query, Document order, int skip, int limit, int batch, Document fields) {
            for (Index<Object> index : getIndexes()) {
                Document part = keysOf(index, query);
                if (part != null && index.canHandle(part)) {
                    return matchDocuments(query, index.getPositions(part), order, skip, limit, batch, fields);
                }
            }
            return super.matchDocuments(query, order, skip, limit, batch, fields);
        }

        private static Document keysOf(Index<Object> index, Document query) {
            Document part = new Document();
            for (IndexKey key : index.getKeys()) {
                if (!query.containsKey(key.getKey())) {
                    return null;
                }
                part.put(key.getKey(), query.get(key.getKey()));
            }
            return part;
        }
    }

    public static void main(String[] arguments) {
        MongoServer server = new MongoServer(new DurableBackend(arguments[0]).version(new Version()));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind(arguments[1], Integer.parseInt(arguments[2]));
    }
}
