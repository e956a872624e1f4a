"""``sluice-faiss``: serve the wanted snapshots of one model over HTTP."""

import os
import sys

from sluice import logs
from sluice import settings as environment
from sluice.errors import SluiceError
from sluice.web.server import Worker, bind, serve
from sluice_faiss.board import Board
from sluice_faiss.settings import FaissSettings


def main() -> None:
    """Serve until SIGTERM; exit code 2 and one sentence on stderr if the settings are unusable."""
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[library] = "1"
    try:
        settings = environment.read(FaissSettings, os.environ)
        logs.configure("faiss", settings.log_level)
        _check(settings)
        listener = bind(settings)  # first: whoever has the port also has the cache folder
        board = Board(settings.cache_path / ".workers")
        board.wipe()
        serve(settings, listener, lambda: _worker(settings, board))
    except (SluiceError, OSError) as error:
        print(f"sluice-faiss: {error}", file=sys.stderr)
        sys.exit(2)


def _check(settings: FaissSettings) -> None:
    """Raise what is wrong with the settings before anything starts."""
    _ = settings.model_key, settings.source_name, settings.wanted_path


def _worker(settings: FaissSettings, board: Board) -> Worker:
    from sluice_faiss.worker import FaissWorker  # loads Faiss: never before the fork

    return FaissWorker(settings, board)


if __name__ == "__main__":
    main()
