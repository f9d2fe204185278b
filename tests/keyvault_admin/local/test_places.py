"""Where the engines live when root starts them, and what is never touched."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from keyvault_admin.local import places
from keyvault_admin.local.errors import LocalError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the engines to another user")


def test_settle_opens_nothing_on_the_way(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    before = [folder.stat().st_mode for folder in (home, *home.parents)]
    settled = places.settle(home / "var")
    try:
        assert [folder.stat().st_mode for folder in (home, *home.parents)] == before
        assert settled.engines.parent == Path(tempfile.gettempdir()).resolve()
        assert places.may_enter(settled.account, settled.engines)
        assert settled.engines.stat().st_mode & 0o777 == 0o711
    finally:
        shutil.rmtree(settled.engines)


def test_settle_refuses_a_folder_that_somebody_else_made(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    settled = places.settle(tmp_path / "home" / "var")
    try:
        os.chown(settled.engines, settled.account.uid, settled.account.gid)
        with pytest.raises(LocalError, match="is not ours alone"):
            places.settle(tmp_path / "home" / "var")
    finally:
        shutil.rmtree(settled.engines)


def test_settle_begins_anew_when_var_was_removed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    var = tmp_path / "home" / "var"
    settled = places.settle(var)
    try:
        (settled.engines / "data").touch()
        (var / "local.env").touch()
        places.settle(var)
        assert (settled.engines / "data").exists()
        shutil.rmtree(var)
        places.settle(var)
        assert not (settled.engines / "data").exists()
    finally:
        shutil.rmtree(settled.engines)


def test_programs_are_copied_when_nobody_cannot_reach_them(var: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir(mode=0o700)
    program = tmp_path / "site" / "package" / "bin" / "server"
    program.parent.mkdir(parents=True)
    shutil.copy2("/bin/true", program)
    settled = places.settle(var)
    copy = places._executable(settled, tmp_path / "site", ("package",), "package/bin/server", "server-1")
    assert copy == settled.engines / "server-1" / "package" / "bin" / "server"
    assert places.may_enter(settled.account, copy)
    assert not places.may_enter(settled.account, program)
