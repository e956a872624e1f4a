"""Model files as Kubernetes mounts them: missing, swapped by a link, broken, gone."""

import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sluice.errors import InvalidSetting
from sluice.following import LOOK_S, ModelFiles, awaited, watch

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {{name: {name}}}
spec: {{algorithm: {{type: GMF, parameters: {{dimension: {dimension}}}}}, source: {{name: {source}}}}}
"""


class Mount:
    """A folder as the kubelet fills it: a link to a folder of links' targets, swapped as one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0
        folder.mkdir()
        self.file = folder / "model.yaml"

    def put(self, content: str | None) -> None:
        self._count += 1
        version = self.folder / f"..version-{self._count}"
        version.mkdir()
        if content is not None:
            (version / "model.yaml").write_text(content)
        temporary = self.folder / "..data_tmp"
        temporary.symlink_to(version.name)
        temporary.rename(self.folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/model.yaml")


def model(name: str = "home", dimension: int = 8, source: str = "shop") -> str:
    return MODEL.format(name=name, dimension=dimension, source=source)


def dimensions(files: ModelFiles) -> list[object]:
    return [each.spec.algorithm.parameters["dimension"] for each in files.models]


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "home")


def test_a_file_that_appears_and_changes_is_taken_over(mount: Mount) -> None:
    files = ModelFiles([mount.file])
    assert not files.changed()
    assert files.models == ()
    mount.put(model())
    assert files.changed()
    assert not files.changed(), "only once"
    mount.put(model(dimension=16))
    assert files.changed()
    assert dimensions(files) == [16]


def test_another_wording_of_the_same_model_is_no_change(mount: Mount) -> None:
    files = ModelFiles([mount.file])
    mount.put(model())
    assert files.changed()
    mount.put("# applied again\n" + model())
    assert not files.changed()


def test_what_a_service_does_not_use_of_a_model_is_no_change(mount: Mount) -> None:
    files = ModelFiles([mount.file], relevant=lambda model: (model.key, model.spec.source))
    mount.put(model())
    assert files.changed()
    mount.put(model(dimension=16))
    assert not files.changed()
    mount.put(model(source="other"))
    assert files.changed()
    assert dimensions(files) == [8]


def test_a_file_that_vanishes_changes_nothing(mount: Mount) -> None:
    files = ModelFiles([mount.file])
    mount.put(model())
    files.changed()
    with capture_logs() as said:
        mount.put(None)
        assert not files.changed()
    assert dimensions(files) == [8]
    assert said == []


@pytest.mark.parametrize("broken", ["[", "apiVersion: nothing", model(dimension=8).replace("GMF", "Oracle")])
def test_an_unusable_file_is_told_once_and_the_last_good_one_stays(mount: Mount, broken: str) -> None:
    files = ModelFiles([mount.file])
    mount.put(model())
    files.changed()
    with capture_logs() as said:
        mount.put(broken)
        assert [files.changed() for _ in range(5)] == [False] * 5
    assert dimensions(files) == [8]
    assert [(line["log_level"], line["models"]) for line in said] == [("error", ["default.home"])]
    assert str(mount.file) in said[0]["path"]
    mount.put(model(dimension=16))
    assert files.changed(), "a good one is taken over again"


def test_at_the_start_an_unusable_file_is_as_good_as_none(mount: Mount) -> None:
    mount.put("[")
    files = ModelFiles([mount.file])
    with capture_logs() as said:
        assert not files.changed()
    assert files.models == ()
    assert len(said) == 1


def test_a_folder_in_the_place_of_a_file_is_told_once(mount: Mount) -> None:
    mount.file.mkdir()
    files = ModelFiles([mount.file])
    with capture_logs() as said:
        assert [files.changed() for _ in range(3)] == [False] * 3
    assert len(said) == 1


def test_of_several_files_those_that_are_there_are_served(tmp_path: Path) -> None:
    mounts = [Mount(tmp_path / name) for name in "abc"]
    files = ModelFiles([each.file for each in mounts])
    mounts[2].put(model("c"))
    assert files.changed()
    mounts[0].put(model("a"))
    assert files.changed()
    assert [each.key for each in files.models] == ["default.a", "default.c"], "in the order they are named"


def test_models_that_do_not_go_together_are_told_once_and_the_last_good_ones_stay(tmp_path: Path) -> None:
    def one_source(models):
        if len({each.spec.source.name for each in models}) > 1:
            raise InvalidSetting("one source only")

    mounts = [Mount(tmp_path / name) for name in "ab"]
    files = ModelFiles([each.file for each in mounts], one_source)
    mounts[0].put(model("a"))
    assert files.changed()
    mounts[1].put(model("b", source="other"))
    with capture_logs() as said:
        assert [files.changed() for _ in range(3)] == [False] * 3
    assert [each.key for each in files.models] == ["default.a"]
    assert [line["reason"] for line in said] == ["one source only"]
    mounts[1].put(model("b"))
    assert files.changed()
    assert [each.key for each in files.models] == ["default.a", "default.b"]


def test_who_waits_is_given_the_model_when_it_appears(mount: Mount) -> None:
    files, over = ModelFiles([mount.file]), threading.Event()
    appearing = threading.Timer(0.1, mount.put, [model()])
    appearing.start()
    assert [each.key for each in awaited(files, over)] == ["default.home"]
    appearing.join()


def test_who_is_told_to_stop_waits_no_longer(mount: Mount) -> None:
    over = threading.Event()
    over.set()
    assert awaited(ModelFiles([mount.file]), over) == ()


def test_whoever_watches_is_told_of_changes(mount: Mount) -> None:
    files, told = ModelFiles([mount.file]), threading.Event()
    mount.put(model())
    files.changed()
    loop = watch(files, told.set)
    mount.put(model(dimension=16))
    assert told.wait(10 * LOOK_S)
    loop.stop()
