"""Jars from Maven, by a ``pom.xml`` that names exact versions."""

from pathlib import Path

from sluice_cli.backends import cache, tools

JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""For servers that live for a test: starting quickly counts."""


def copy_jars(pom: Path, target: Path) -> None:
    """Fetch what ``pom`` depends on into ``target``."""
    tools.find("java")
    with cache.locked("maven.lock"):  # two Mavens at once may spoil the repository that they share
        tools.run(
            *("mvn", "--quiet", "--batch-mode", "--file", str(pom), "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={target}"),
        )


def java(heap: str, jars: list[str], *arguments: str) -> list[str]:
    """Return a command that runs a main class over jars (or folders) with a heap like ``512m``."""
    return [tools.find("java"), f"-Xmx{heap}", *JVM, "-cp", ":".join(jars), *arguments]
