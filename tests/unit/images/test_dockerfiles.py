"""The four Dockerfiles and .dockerignore: alike but for the service, and without what an image must not hold."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = {
    "operator": "operator",
    "trainer": "services/trainer",
    "faiss": "services/faiss",
    "recommender": "services/recommender",
}


def text(name: str) -> str:
    return (ROOT / FOLDERS[name] / "Dockerfile").read_text()


def instructions(name: str) -> list[str]:
    """Instructions of one Dockerfile on one line each, without remarks."""
    lines = "\n".join(line for line in text(name).splitlines() if not line.startswith("#"))
    return [line.strip() for line in re.sub(r"\\\n\s*", "", lines).splitlines() if line.strip()]


def final(name: str) -> list[str]:
    """Instructions of the last stage."""
    lines = instructions(name)
    return lines[max(place for place, line in enumerate(lines) if line.startswith("FROM ")) :]


def generic(name: str) -> str:
    """A Dockerfile with its service's own words taken out."""
    # the longer words first: `operator` is a folder and a part of them
    own = {
        f"{name}.txt": "LOCK",
        f"sluice-{name}": "ENTRY",
        f"sluice/{name}": "IMAGE",
        FOLDERS[name]: "FOLDER",
    }
    result = "\n".join(instructions(name))
    result = re.sub(r"&& \S+ pip uninstall [^&]* triton ", "", result)
    for word, place in own.items():
        result = result.replace(word, place)
    result = re.sub(r"^EXPOSE .*$", "EXPOSE", result, flags=re.M)
    return re.sub(r'description="[^"]*"', "description", result)


@pytest.mark.parametrize("name", ["operator", "faiss", "recommender"])
def test_the_dockerfiles_differ_in_nothing_but_their_service(name: str) -> None:
    assert generic(name) == generic("trainer")


@pytest.mark.parametrize("name", FOLDERS)
def test_an_image_runs_as_10001_stops_at_sigterm_and_starts_without_a_shell(name: str) -> None:
    lines = final(name)
    assert "USER 10001:10001" in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert f'ENTRYPOINT ["sluice-{name}"]' in lines
    assert lines.index("USER 10001:10001") > max(i for i, line in enumerate(lines) if line.startswith("RUN "))


@pytest.mark.parametrize("name", FOLDERS)
def test_every_install_checks_hashes_or_takes_no_dependency(name: str) -> None:
    installs = [line for line in "".join(instructions(name)).split("&&") if re.search(r"pip install ", line)]
    assert len(installs) == 4
    assert all("--require-hashes" in line or "--no-deps --build-constraints" in line for line in installs)


@pytest.mark.parametrize("name", FOLDERS)
def test_code_lies_above_the_dependencies_and_labels_above_both(name: str) -> None:
    lines = final(name)
    order = [
        next(i for i, line in enumerate(lines) if line.startswith(start))
        for start in (
            "COPY requirements/",
            "RUN export",
            "COPY --from=members",
            "ENTRYPOINT",
            "ARG VERSION",
            "LABEL",
        )
    ]
    assert order == sorted(order)
    assert not any("libs/sluice" in line for line in lines)


@pytest.mark.parametrize("name", FOLDERS)
def test_an_image_says_title_description_licence_version_revision_and_source(name: str) -> None:
    label = final(name)[-1]
    keys = ("title", "description", "licenses", "version", "revision", "source")
    assert re.findall(r"org\.opencontainers\.image\.(\w+)=", label) == list(keys)


def test_the_build_sees_only_what_dockerfiles_copy() -> None:
    allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert allowed[0] == "*"
    assert {line[1:] for line in allowed if line.startswith("!")} == {
        "LICENSE",
        "requirements",
        "libs",
        "operator",
        "services",
    }
