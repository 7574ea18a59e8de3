"""Keys, passwords and the secret key: what lies on disk, and who is refused."""

import os
import stat
from pathlib import Path

import pytest

from pneumonia.app import access, secret
from pneumonia.app.settings import Settings
from pneumonia.errors import ServiceError


class TestKeys:
    def test_are_accepted_by_the_file_that_holds_no_key(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        ward, script = access.add_key(file, "ward"), access.add_key(file, "script")
        keys = access.Keys(file)
        assert keys.accept(ward)
        assert keys.accept(script)
        assert not keys.accept(ward[:-1])
        assert not keys.accept("")
        assert ward not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_of_a_deleted_line_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        gone, stays = access.add_key(file, "gone"), access.add_key(file, "stays")
        file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("gone ")))
        assert access.Keys(file).accept(stays)
        assert not access.Keys(file).accept(gone)

    def test_have_names_of_their_own(self, tmp_path: Path) -> None:
        access.add_key(tmp_path / "keys", "ward")
        with pytest.raises(ServiceError, match="has a key named ward"):
            access.add_key(tmp_path / "keys", "ward")
        with pytest.raises(ServiceError, match="without blanks"):
            access.add_key(tmp_path / "keys", "the ward")

    @pytest.mark.parametrize("content", ["", "ward\n", "ward deadbeef\n", "just some words here\n", None])
    def test_other_files_are_refused(self, tmp_path: Path, content: str | None) -> None:
        """An empty one above all: it must not mean that nobody is asked for a key."""
        if content is not None:
            (tmp_path / "keys").write_text(content)
        with pytest.raises(ServiceError, match="keys"):
            access.Keys(tmp_path / "keys")


class TestPassword:
    def test_is_accepted_by_its_hash(self, tmp_path: Path) -> None:
        access.set_password(tmp_path / "password", "correct horse battery")
        password = access.Password(tmp_path / "password")
        assert password.accept("correct horse battery")
        assert not password.accept("correct horse batterY")
        assert not password.accept("")
        text = (tmp_path / "password").read_text()
        assert text.startswith("$argon2id$")
        assert "horse" not in text
        assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600

    def test_is_long(self, tmp_path: Path) -> None:
        with pytest.raises(ServiceError, match="12 or more"):
            access.set_password(tmp_path / "password", "short")
        assert not (tmp_path / "password").exists()

    def test_in_plain_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("correct horse battery\n")
        with pytest.raises(ServiceError, match="holds no password hash"):
            access.Password(tmp_path / "password")


class TestSecret:
    def test_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            key = secret.load_or_make(tmp_path / "state")
        finally:
            os.umask(before)
        assert secret.load_or_make(tmp_path / "state") == key
        assert len(key) == 32
        assert stat.S_IMODE((tmp_path / "state" / secret.FILE).stat().st_mode) == 0o600
        assert secret.load_or_make(tmp_path / "another") != key

    def test_that_others_can_read_or_that_is_cut_is_refused(self, tmp_path: Path) -> None:
        secret.load_or_make(tmp_path)
        (tmp_path / secret.FILE).chmod(0o640)
        with pytest.raises(ServiceError, match="chmod 600"):
            secret.load_or_make(tmp_path)
        (tmp_path / secret.FILE).chmod(0o600)
        (tmp_path / secret.FILE).write_bytes(b"short")
        with pytest.raises(ServiceError, match="expected 32"):
            secret.load_or_make(tmp_path)

    def test_in_a_folder_that_cannot_be_made_is_an_error_in_words(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ServiceError, match="--state"):
            secret.load_or_make(tmp_path / "file" / "state")

    def test_gives_pseudonyms_that_differ_by_key_kind_and_text(self) -> None:
        keys = [b"a" * 32, b"b" * 32]
        made = {secret.pseudonym(key, kind, text) for key in keys for kind in "xy" for text in ("1", "2")}
        assert len(made) == 8
        assert secret.pseudonym(keys[0], "x", "1") in made


class TestDoor:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ward.example.org"])
    def test_is_not_opened_to_others_without_key_or_password(self, host: str) -> None:
        with pytest.raises(ServiceError, match="can be reached by others"):
            Settings(host=host).refuse_an_open_door()
        for lock in ({"key_file": Path("k")}, {"password_file": Path("p")}, {"insecure": True}):
            Settings.model_validate({"host": host} | lock).refuse_an_open_door()

    def test_counts_as_open_to_others_behind_a_reverse_proxy(self) -> None:
        with pytest.raises(ServiceError, match=r"ward\.example\.org"):
            Settings(hostnames=("ward.example.org",)).refuse_an_open_door()

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
    def test_on_this_machine_needs_no_lock(self, host: str) -> None:
        Settings(host=host).refuse_an_open_door()
