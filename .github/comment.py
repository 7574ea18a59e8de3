"""Post the report of a finished report.yml run as a single comment on its pull request.

The report was made by the code of the pull request and is untrusted text: it cannot choose where it is posted, mention
people or imitate other comments. Only the standard library is used, so nothing is installed next to the token.

Environment: GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, and of the workflow_run event HEAD_SHA and RUN_ID.
"""

import io
import json
import os
import re
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from typing import Any

ARTIFACT, REPORT = "pr-report", "report.md"
MARKER = "<!-- the model report of this pull request -->"
AUTHOR = "github-actions[bot]"
MAXIMUM_ARTIFACT = 8 * 2**20
"""Maximum size of the zipped artifact in bytes; it holds three pictures and a text."""

MAXIMUM_REPORT = 65_000
"""Maximum number of characters; a comment holds 65,536."""

MAXIMUM_UNPACKED = 4 * MAXIMUM_REPORT
"""Maximum size of the report in bytes; a character of UTF-8 has up to four."""

PER_PAGE = 100
SECONDS = 30

MENTION = re.compile(r"(?<![A-Za-z0-9])@")
"""An @ that may mention somebody; the one in the name of a stage, train@cnn, does not."""

ZERO_WIDTH_SPACE = "\u200b"
ORIGIN = "<sub>Computed by the code of this pull request, which has not been reviewed.</sub>"


class Refused(Exception):
    """The report cannot be posted; the message says why."""


def main() -> None:
    """Find the pull request and the report, and create or update the comment."""
    head, run = os.environ["HEAD_SHA"], os.environ["RUN_ID"]
    numbers = [pull["number"] for pull in _pages("pulls?state=open") if pull["head"]["sha"] == head]
    if not numbers:
        print(f"No open pull request has the head {head}: it was closed or updated. Nothing to do.")
        return
    if len(numbers) > 1:
        raise Refused(f"expected one open pull request with the head {head}, got {numbers}.")
    body = f"{MARKER}\n{ORIGIN}\n\n{harmless(_report(run))}"
    ours = [comment for comment in _pages(f"issues/{numbers[0]}/comments") if _is_ours(comment)]
    if ours:
        _call(f"issues/comments/{ours[0]['id']}", "PATCH", {"body": body})
    else:
        _call(f"issues/{numbers[0]}/comments", "POST", {"body": body})
    print(f"{'Updated' if ours else 'Wrote'} the comment of pull request {numbers[0]}.")


def harmless(report: str) -> str:
    """Return the report without HTML comments, mentions and control characters.

    Raises:
        Refused: it is longer than a comment may be.
    """
    printable = "".join(character for character in report if character.isprintable() or character == "\n")
    text = printable.replace("<!--", "&lt;!--")
    text = MENTION.sub(f"@{ZERO_WIDTH_SPACE}", text)
    if len(text) > MAXIMUM_REPORT:
        raise Refused(f"the report has {len(text)} characters; expected at most {MAXIMUM_REPORT}.")
    return text


def _is_ours(comment: dict[str, Any]) -> bool:
    author = comment["user"] or {}  # null for an account that is gone
    return author.get("login") == AUTHOR and comment["body"].startswith(MARKER)


def _report(run: str) -> str:
    """Download the artifact of a run and return the report in it.

    Raises:
        Refused: there is none, or it is too large or broken.
    """
    found = [
        artifact for artifact in _pages(f"actions/runs/{run}/artifacts", "artifacts") if artifact["name"] == ARTIFACT
    ]
    if not found:
        raise Refused(f"run {run} has no artifact {ARTIFACT}.")
    packed = _call(f"actions/artifacts/{found[-1]['id']}/zip", limit=MAXIMUM_ARTIFACT)
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as files, files.open(REPORT) as report:
            text = report.read(MAXIMUM_UNPACKED + 1)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"the artifact of run {run} has no readable {REPORT}: {error}.") from None
    if len(text) > MAXIMUM_UNPACKED:
        raise Refused(f"the report has more than {MAXIMUM_UNPACKED} bytes.")
    return text.decode("utf-8", errors="replace")


def _pages(path: str, key: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the items of a list, page by page; ``key`` is the field of the response that holds them."""
    page, separator = 1, "&" if "?" in path else "?"
    while True:
        answer = json.loads(_call(f"{path}{separator}per_page={PER_PAGE}&page={page}"))
        items = answer[key] if key else answer
        yield from items
        if len(items) < PER_PAGE:
            return
        page += 1


def _call(path: str, method: str = "GET", content: dict[str, Any] | None = None, limit: int | None = None) -> bytes:
    """Send a request to the API of this repository and return the response.

    Raises:
        Refused: the response is an error, or has more than ``limit`` bytes.
    """
    api, repository = os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"]
    request = urllib.request.Request(
        f"{api}/repos/{repository}/{path}",
        data=None if content is None else json.dumps(content).encode(),
        headers={"Accept": "application/vnd.github+json"},
        method=method,
    )
    # Artifacts are redirected to another host, which must not see the token.
    request.add_unredirected_header("Authorization", f"Bearer {os.environ['GITHUB_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            body: bytes = answer.read() if limit is None else answer.read(limit + 1)
    except urllib.error.HTTPError as error:
        raise Refused(f"{method} {path} failed with {error.code} {error.reason}.") from None
    except urllib.error.URLError as error:
        raise Refused(f"{method} {path} failed: {error.reason}.") from None
    if limit is not None and len(body) > limit:
        raise Refused(f"{path} has more than {limit} bytes.")
    return body


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(f"error: {refused}")
