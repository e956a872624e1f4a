"""``sluice-recommender api``: the public API. ``sluice-recommender profiles``: keeps profiles and credits answers."""

import os
import sys

from sluice import logs
from sluice import settings as environment
from sluice.errors import SluiceError

USAGE = "give one command: sluice-recommender api, or sluice-recommender profiles"


def main() -> None:
    """Run a command until SIGTERM; exit code 2 and one sentence on stderr if the settings are unusable."""
    commands = {"api": _api, "profiles": _profiles}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"sluice-recommender: {USAGE}", file=sys.stderr)
        sys.exit(2)
    try:
        commands[sys.argv[1]]()
    except (SluiceError, OSError) as error:
        print(f"sluice-recommender: {error}", file=sys.stderr)
        sys.exit(2)


def _api() -> None:
    from sluice.experiment import parse
    from sluice.web.server import Worker, bind, serve
    from sluice_recommender.api.keys_file import KeysFile
    from sluice_recommender.settings import ApiSettings, models_of, one_source, pod_urls, policy_of

    settings = environment.read(ApiSettings, os.environ)
    logs.configure("recommender", settings.log_level)
    models = models_of(settings)
    one_source(models)
    keys = [model.key for model in models]
    pod_urls(settings.faiss_stable_urls, "FAISS_STABLE_URLS", keys)
    pod_urls(settings.faiss_canary_urls, "FAISS_CANARY_URLS", keys)
    policy_of(settings)
    parse(settings.experiment, keys)
    KeysFile(settings.keys_path)

    def build() -> Worker:
        from sluice_recommender.api.worker import ApiWorker  # after the fork, when metrics know their folder

        return ApiWorker(settings, models)

    serve(settings, bind(settings), build)


def _profiles() -> None:
    from sluice_recommender.profiles.worker import run
    from sluice_recommender.settings import ProfilesSettings, models_of

    settings = environment.read(ProfilesSettings, os.environ)
    logs.configure("profiles", settings.log_level)
    run(settings, models_of(settings))


if __name__ == "__main__":
    main()
