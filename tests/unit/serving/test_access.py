"""API keys, passwords, the secret key, and when authentication is required."""

import os
import stat
from pathlib import Path

import pytest

from pneumonia.core.errors import ServiceError
from pneumonia.serving import access, pseudonyms
from pneumonia.serving.settings import AppSettings


class TestApiKeys:
    def test_are_verified_with_hashes_only(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        ward, script = access.add_key(file, "ward"), access.add_key(file, "script")
        keys = access.ApiKeys(file)
        assert keys.verify(ward)
        assert keys.verify(script)
        assert not keys.verify(ward[:-1])
        assert not keys.verify("")
        assert ward not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_are_not_valid_after_deletion(self, tmp_path: Path) -> None:
        file = tmp_path / "keys"
        deleted, kept = access.add_key(file, "deleted"), access.add_key(file, "kept")
        file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("deleted ")))
        assert access.ApiKeys(file).verify(kept)
        assert not access.ApiKeys(file).verify(deleted)

    def test_have_unique_names(self, tmp_path: Path) -> None:
        access.add_key(tmp_path / "keys", "ward")
        with pytest.raises(ServiceError, match="has a key named ward"):
            access.add_key(tmp_path / "keys", "ward")
        with pytest.raises(ServiceError, match="without whitespace"):
            access.add_key(tmp_path / "keys", "the ward")

    @pytest.mark.parametrize("content", ["", "ward\n", "ward deadbeef\n", "just some words here\n", None])
    def test_invalid_files_are_errors(self, tmp_path: Path, content: str | None) -> None:
        """An empty file must not disable authentication."""
        if content is not None:
            (tmp_path / "keys").write_text(content)
        with pytest.raises(ServiceError, match="keys"):
            access.ApiKeys(tmp_path / "keys")


class TestPassword:
    def test_is_verified_with_its_hash(self, tmp_path: Path) -> None:
        access.set_password(tmp_path / "password", "correct horse battery")
        password = access.PasswordVerifier(tmp_path / "password")
        assert password.verify("correct horse battery")
        assert not password.verify("correct horse batterY")
        assert not password.verify("")
        text = (tmp_path / "password").read_text()
        assert text.startswith("$argon2id$")
        assert "horse" not in text
        assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600

    def test_has_a_minimum_length(self, tmp_path: Path) -> None:
        with pytest.raises(ServiceError, match="12 or more"):
            access.set_password(tmp_path / "password", "short")
        assert not (tmp_path / "password").exists()

    def test_in_plain_text_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("correct horse battery\n")
        with pytest.raises(ServiceError, match="holds no password hash"):
            access.PasswordVerifier(tmp_path / "password")


class TestSecretKey:
    def test_is_created_once_and_readable_by_its_owner_only(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            key = pseudonyms.load_or_create_key(tmp_path / "state")
        finally:
            os.umask(before)
        assert pseudonyms.load_or_create_key(tmp_path / "state") == key
        assert len(key) == 32
        assert stat.S_IMODE((tmp_path / "state" / pseudonyms.KEY_FILE).stat().st_mode) == 0o600
        assert pseudonyms.load_or_create_key(tmp_path / "another") != key

    def test_with_wrong_permissions_or_length_is_an_error(self, tmp_path: Path) -> None:
        pseudonyms.load_or_create_key(tmp_path)
        (tmp_path / pseudonyms.KEY_FILE).chmod(0o640)
        with pytest.raises(ServiceError, match="chmod 600"):
            pseudonyms.load_or_create_key(tmp_path)
        (tmp_path / pseudonyms.KEY_FILE).chmod(0o600)
        (tmp_path / pseudonyms.KEY_FILE).write_bytes(b"short")
        with pytest.raises(ServiceError, match="expected 32"):
            pseudonyms.load_or_create_key(tmp_path)

    def test_in_a_folder_that_cannot_be_created_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ServiceError, match="--state"):
            pseudonyms.load_or_create_key(tmp_path / "file" / "state")

    def test_pseudonyms_differ_by_key_kind_and_text(self) -> None:
        keys = [b"a" * 32, b"b" * 32]
        created = {pseudonyms.pseudonymize(key, kind, text) for key in keys for kind in "xy" for text in ("1", "2")}
        assert len(created) == 8
        assert pseudonyms.pseudonymize(keys[0], "x", "1") in created


class TestAuthenticationRequirement:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "ward.example.org"])
    def test_applies_to_addresses_that_other_machines_reach(self, host: str) -> None:
        with pytest.raises(ServiceError, match="reachable from other machines"):
            AppSettings(host=host).require_authentication()
        for option in ({"key_file": Path("k")}, {"password_file": Path("p")}, {"insecure": True}):
            AppSettings.model_validate({"host": host} | option).require_authentication()

    def test_applies_behind_a_reverse_proxy(self) -> None:
        with pytest.raises(ServiceError, match=r"ward\.example\.org"):
            AppSettings(hostnames=("ward.example.org",)).require_authentication()

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
    def test_does_not_apply_to_loopback_addresses(self, host: str) -> None:
        AppSettings(host=host).require_authentication()
