"""``sluice-recommender api``: the public API. ``sluice-recommender profiles``: keeps profiles and credits answers.

``sluice-recommender prepare``: makes the topics and indexes that both need.
"""

import os
import sys

from sluice import logs
from sluice import settings as environment
from sluice.errors import SluiceError, StorageUnavailable

USAGE = "give one command: sluice-recommender api, sluice-recommender profiles, or sluice-recommender prepare"


def main() -> None:
    """Run a command until SIGTERM; exit code 2 and one sentence on stderr if the settings are unusable."""
    commands = {"api": _api, "profiles": _profiles, "prepare": _prepare}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(f"sluice-recommender: {USAGE}", file=sys.stderr)
        sys.exit(2)
    try:
        commands[sys.argv[1]]()
    except (SluiceError, OSError) as error:
        print(f"sluice-recommender: {error}", file=sys.stderr)
        sys.exit(2)


def _api() -> None:
    from sluice_recommender.api import command
    from sluice_recommender.settings import ApiSettings

    settings = environment.read(ApiSettings, os.environ)
    logs.configure("recommender", settings.log_level)
    command.run(settings)


def _profiles() -> None:
    from sluice.lifetime import Lifetime
    from sluice_recommender.profiles.worker import run
    from sluice_recommender.settings import ProfilesSettings

    lifetime = Lifetime()
    lifetime.listen()
    settings = environment.read(ProfilesSettings, os.environ)
    logs.configure("profiles", settings.log_level)
    run(settings, lifetime)
    lifetime.end()


def _prepare() -> None:
    from sluice_recommender.preparing import PrepareSettings, run

    settings = environment.read(PrepareSettings, os.environ)
    logs.configure("recommender", settings.log_level)
    try:
        for told in run(settings):
            print(f"{'warning: ' if told.warning else ''}{told.sentence}", flush=True)
    except StorageUnavailable as error:
        print(f"sluice-recommender: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
