"""`.github/comment.py` against a fake of GitHub's API."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.github_api import BOT, HEAD, MARKER, GitHub, comment, pull, served, zipped


@pytest.fixture
def github() -> Iterator[GitHub]:
    with served() as hub:
        yield hub


def test_writes_a_first_comment_on_the_pull_request_at_the_head(github: GitHub) -> None:
    github.run()
    ((method, path, body),) = github.written
    assert (method, path) == ("POST", "/issues/7/comments")
    assert body.startswith(f"{MARKER}\n")
    assert body.endswith("\n\n## Model report\n")


def test_updates_its_own_comment_on_the_second_page(github: GitHub) -> None:
    talk = [comment(i, "What a change!", {"login": "a-colleague"}) for i in range(130)]
    github.comments = [*talk, comment(500, f"{MARKER}\nolder", BOT), comment(501, "thanks", {"login": "a-colleague"})]
    github.run()
    assert [written[:2] for written in github.written] == [("PATCH", "/issues/comments/500")]


def test_finds_the_pull_request_on_the_second_page(github: GitHub) -> None:
    github.pulls = [*(pull(1000 + i, f"{i:040x}") for i in range(250)), pull(7, HEAD)]
    github.run()
    assert [written[:2] for written in github.written] == [("POST", "/issues/7/comments")]


@pytest.mark.parametrize(
    "forged",
    [
        comment(9, f"{MARKER}\nmine", {"login": "somebody"}),
        comment(9, f"quoted: {MARKER}", BOT),
        comment(9, f"{MARKER}\nof an account that is gone", None),
    ],
)
def test_does_not_update_a_comment_with_a_forged_marker(github: GitHub, forged: dict[str, Any]) -> None:
    github.comments = [forged]
    github.run()
    assert [written[:2] for written in github.written] == [("POST", "/issues/7/comments")]


@pytest.mark.parametrize("pulls", [[pull(7, HEAD, "closed")], [pull(7, "bb" * 20)], []])
def test_posts_nothing_if_the_pull_request_is_closed_or_updated(github: GitHub, pulls: list[dict[str, Any]]) -> None:
    github.pulls = pulls
    assert "Nothing to do" in github.run().stdout
    assert github.written == []


def test_refuses_two_pull_requests_with_the_same_head(github: GitHub) -> None:
    github.pulls.append(pull(8, HEAD))
    assert "[7, 8]" in github.run(expected=1).stderr
    assert github.written == []


def test_mentions_nobody_and_removes_html_comments(github: GitHub) -> None:
    report = f"@team/all (@somebody) _@x train@cnn\n{MARKER}<!-- hidden -->\x1b[31m\u202eright to left"
    github.archive = zipped(report_md=report.encode())
    github.run()
    body = github.written[0][2]
    assert "train@cnn" in body
    assert re.findall(r"(?<![A-Za-z0-9])@\w", body) == []
    assert body.count("<!--") == 1
    assert "\x1b" not in body
    assert "\u202e" not in body


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (os.urandom(9 * 2**20), "more than 8388608 bytes"),
        (zipped(report_md=b"a" * 66_000), "expected at most 65000"),
        (zipped(report_md=b"\0" * 2**28), "more than 260000 bytes"),
        (zipped(other_md=b"## Model report"), r"no readable report\.md"),
        (b"no zip", r"no readable report\.md"),
    ],
    ids=["large", "long", "bomb", "without report", "no zip"],
)
def test_refuses_an_artifact_without_a_report(github: GitHub, archive: bytes, reason: str) -> None:
    github.archive = archive
    assert re.search(reason, github.run(expected=1).stderr)
    assert github.written == []


def test_a_missing_artifact_and_an_error_of_the_api_are_one_message(github: GitHub) -> None:
    github.artifacts = [{"id": 4, "name": "something-else"}]
    assert "has no artifact pr-report" in github.run(expected=1).stderr
    github.artifacts = [{"id": 404, "name": "pr-report"}]
    assert "failed with 404" in github.run(expected=1).stderr
    assert "failed with 401" in github.run(expected=1, GITHUB_TOKEN="expired").stderr
    assert github.written == []


def test_the_token_is_not_sent_to_the_storage_host(github: GitHub) -> None:
    github.run()
    (headers,) = github.seen_by_storage
    assert "Authorization" not in headers
