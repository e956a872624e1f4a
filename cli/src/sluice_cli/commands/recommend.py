"""``sluice recommend``: ask the running API, as a client would."""

from typing import Annotated, Any

import typer

from sluice_cli.commands.local import JsonOption
from sluice_cli.commands.shell import Failed, InputError, show_json, show_table

TIMEOUT_S = 10.0
MAX_N = 1_000


def recommend(
    user: Annotated[str, typer.Argument(help="Id of a user.")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=MAX_N, help="How many items.")] = 10,
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", help="A word such as genre:Comedy that items must have; repeat for several."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="NAMESPACE.NAME or name of a model; the API's first by default."),
    ] = None,
    url: Annotated[str, typer.Option("--url", help="Where the API answers.")] = "http://127.0.0.1:8080",
    key: Annotated[
        str | None,
        typer.Option(
            "--key", envvar="SLUICE_KEY", help="API key with scope read, where the API asks for one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend items to a user.

    \b
    Examples:
      sluice recommend 448
      sluice recommend 448 --n 5 --filter genre:Comedy --json
      sluice recommend 448 --model home-als
      sluice recommend 448 --url http://127.0.0.1:9000
    """
    asked: dict[str, Any] = {"user_id": user, "n": n, **({"filter": words} if words else {})}
    asked |= {"model": model} if model else {}
    answer = ask(url, asked, key)
    if as_json:
        show_json(answer)
        return
    made = f"{answer['strategy']}, by {answer['snapshot'] or 'no snapshot'} ({answer['track']})"
    typer.echo(f"{made}, request {answer['request_id']}")
    rows = [
        [
            str(place),
            item["item_id"],
            str((item.get("metadata") or {}).get("title", "")),
            f"{item['score']:.3f}",
        ]
        for place, item in enumerate(answer["items"], 1)
    ]
    show_table(("#", "item", "title", "score"), rows, right=("#", "score"))


def ask(api: str, asked: dict[str, Any], key: str | None) -> dict[str, Any]:
    """Return the answer to a POST; raises :class:`Failed` with what the API says, or that none answers."""
    import msgspec
    import urllib3

    if not api.startswith(("http://", "https://")):
        raise InputError(f"--url {api} is no address; give one such as http://127.0.0.1:8080")
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        response = urllib3.request(
            "POST",
            f"{api.rstrip('/')}/v1/recommendations",
            body=msgspec.json.encode(asked),
            headers=headers,
            timeout=TIMEOUT_S,
            retries=False,
        )
        document: Any = msgspec.json.decode(response.data)
    except urllib3.exceptions.LocationParseError as error:
        raise InputError(f"--url {api} is no address; give one such as http://127.0.0.1:8080") from error
    except urllib3.exceptions.HTTPError as error:
        raise Failed(f"no API answers at {api}; start one with sluice up, or give its --url") from error
    except msgspec.DecodeError as error:
        raise Failed(f"{api} does not answer as Sluice does; give the API's --url") from error
    if response.status != 200:
        raise Failed(f"the API refused ({response.status}): {_detail(document)}")
    if not isinstance(document, dict) or "items" not in document:
        raise Failed(f"{api} does not answer as Sluice does; give the API's --url")
    return document


def _detail(document: Any) -> str:
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or "it gave no reason")
