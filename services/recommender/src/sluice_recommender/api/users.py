"""Resources of users: what is known of one, and its erasure."""

from typing import Any, ClassVar

import falcon
import msgspec

from sluice.profile import Profile, Profiles
from sluice.records import Features, check_id
from sluice.web.bodies import send
from sluice.web.problems import problem
from sluice_recommender.api import intake
from sluice_recommender.api.answers import Accepted
from sluice_recommender.api.documents import body, parameters
from sluice_recommender.api.intake import Intake, take_changes
from sluice_recommender.api.items import the_id, with_id
from sluice_recommender.api.keys import Scope


class PastInteraction(msgspec.Struct, frozen=True):
    """One interaction of a user; ``ts`` is Unix time in milliseconds."""

    item_id: str
    event: str
    value: float
    ts: int | None


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """All that Sluice keeps of a user: ``recent`` interactions newest first, ``seen`` items oldest first."""

    user_id: str
    features: Features
    interests: dict[str, float]
    views: dict[str, dict[str, Any]]
    recent: list[PastInteraction]
    seen: tuple[str, ...]


def view_of(profile: Profile) -> UserView:
    """Return what a client is shown of a profile."""
    return UserView(
        user_id=profile.user_id,
        features=profile.features,
        interests=profile.interests,
        views=profile.views,
        recent=[PastInteraction(each.item_id, each.event, each.value, each.ts) for each in profile.recent],
        seen=profile.seen,
    )


class UserResource:
    """``GET|PUT|DELETE /v1/users/{user_id}``: personal data, so every method needs scope admin.

    GET: 200 or 404. PUT: 202 once the log has features, interests and views, which replace the earlier ones.
    DELETE forgets: 202 once the log has the tombstone and the forget that voids all earlier interactions.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "admin", "HEAD": "admin", "PUT": "admin", "DELETE": "admin"}

    def __init__(self, profiles: Profiles, taken: Intake) -> None:
        self._profiles, self._intake = profiles, taken

    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Return what is known of one user."""
        parameters(req, ())
        send(resp, known(self._profiles, check_id(user_id, "user_id")))

    on_head = on_get

    def on_put(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Replace what is known of one user beside interactions."""
        parameters(req, ())
        record = intake.user(with_id(body(req), "user_id", check_id(user_id, "user_id")))
        self._intake.users([record])
        send(resp, Accepted(1), 202)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        """Forget one user; an unknown one is forgotten too."""
        parameters(req, ())
        self._intake.forget([check_id(user_id, "user_id")])
        send(resp, Accepted(1), 202)


class UsersResource:
    """``POST /v1/users``: one user, a list of up to 1,000, or ``{"delete": [ids]}`` to forget them.

    202 once the log has them. ``GET /v1/users?user_id=`` is :class:`UserResource`'s GET for ids that do not
    fit a path.
    """

    scopes: ClassVar[dict[str, Scope]] = {"GET": "admin", "HEAD": "admin", "POST": "admin"}

    def __init__(self, profiles: Profiles, taken: Intake) -> None:
        self._profiles, self._intake = profiles, taken

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Return what is known of one user."""
        send(resp, known(self._profiles, the_id(req, "user_id")))

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Describe or forget users."""
        take_changes(req, resp, intake.user, self._intake.users, self._intake.forget)


def known(profiles: Profiles, user_id: str) -> UserView:
    """Return what is known of a user; 404 if that is nothing."""
    profile = profiles.get(user_id)
    if profile is None:
        raise problem(
            404, "unknown-user", "nothing is known of user_id; post interactions or PUT the user first"
        )
    return view_of(profile)
