"""Writes the example request files beside it, always the same ones: `python make_examples.py`."""

# ruff: noqa: INP001, S311 - a script beside its files, not a package; its chance is no secret

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TICKETS, SUMMARIES, PRODUCTS, REVIEWS = 700, 300, 240, 160

_GREETINGS = ("Hello", "Hi team", "Good morning", "Dear support", "Hey there")
_PRODUCTS = (
    "espresso machine", "trail running shoes", "noise-cancelling headphones", "standing desk",
    "robot vacuum", "hiking backpack", "air purifier", "cast-iron pan", "e-bike battery",
    "rain jacket", "mechanical keyboard", "garden hose reel",
)  # fmt: skip
_PROBLEMS = (
    "arrived with a cracked housing", "was charged twice on my card",
    "has not left the warehouse for nine days", "does not switch on after the update",
    "is missing the screws from the parts list", "came in the wrong size",
    "makes a grinding noise after ten minutes", "was delivered to a neighbour I do not know",
)  # fmt: skip
_WISHES = (
    "Could you send a replacement?", "I would like my money back.",
    "Please tell me where it is.", "What should I do now?",
    "Is this covered by the warranty?", "Can I change it in a shop?",
)  # fmt: skip
_TOWNS = ("Lyon", "Porto", "Leeds", "Graz", "Malmö", "Gdańsk", "Bologna", "Ghent", "Kraków")
_TEAMS = ("payments", "search", "mobile", "warehouse", "identity", "reporting")
_FINDINGS = (
    "the queue grew because one worker held a lock", "a certificate expired on a Sunday",
    "a cache was filled with answers of another region", "an index was missing after a move",
    "retries without a pause doubled the load", "a time zone was read from the wrong server",
)  # fmt: skip
_ACTIONS = (
    "added an alert", "put a limit on the pool", "wrote the missing index",
    "moved the switch behind a flag", "added pauses that grow", "asked for a second reviewer",
)  # fmt: skip
_MATERIALS = ("recycled aluminium", "organic cotton", "oak", "ceramic", "carbon fibre", "merino")
_VIRTUES = ("light", "quiet", "washable", "foldable", "easy to repair", "safe for dishwashers")
_OPINIONS = (
    "works exactly as described", "stopped after two weeks", "is smaller than I thought",
    "was a gift and still makes somebody happy", "smells of plastic", "is worth every cent",
)  # fmt: skip


def main() -> None:
    """Write every example file."""
    _write_lines("support-tickets.jsonl", _with_bad_lines(list(_tickets(random.Random(1)))))
    _write_lines("incident-summaries.jsonl", list(_summaries(random.Random(2))))
    _write_lines("product-search.jsonl", list(_products(random.Random(3))))
    _write_reviews(random.Random(4))


def _tickets(chance: random.Random) -> Iterator[str]:
    schema = "Answer with JSON: category, urgency from 1 to 5, language, one sentence of summary."
    for number in range(1, TICKETS + 1):
        ticket = (
            f"{chance.choice(_GREETINGS)}, my {chance.choice(_PRODUCTS)} (order "
            f"{chance.randrange(10_000, 99_999)}-{number}) {chance.choice(_PROBLEMS)}. "
            f"{chance.choice(_WISHES)} Greetings from {chance.choice(_TOWNS)}"
        )
        body = {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": f"You sort customers' messages. {schema}"},
                {"role": "user", "content": ticket},
            ],
            "max_completion_tokens": 120,
            "temperature": 0,
        }
        yield _request(f"ticket-{number:04d}", "/v1/chat/completions", body)


def _summaries(chance: random.Random) -> Iterator[str]:
    for number in range(1, SUMMARIES + 1):
        minutes = chance.randrange(4, 240)
        report = (
            f"Incident {number} of team {chance.choice(_TEAMS)}, {minutes} minutes. We found that "
            f"{chance.choice(_FINDINGS)}, and later that {chance.choice(_FINDINGS)}. The team "
            f"{chance.choice(_ACTIONS)} and {chance.choice(_ACTIONS)}."
        )
        body = {
            "model": "gpt-5-mini",
            "instructions": "Summarize the incident for managers in two sentences.",
            "input": report,
            "max_output_tokens": 200,
        }
        yield _request(f"incident-{number:03d}", "/v1/responses", body)


def _products(chance: random.Random) -> Iterator[str]:
    for number in range(1, PRODUCTS + 1):
        title = f"{chance.choice(_PRODUCTS)} no. {number}, {chance.choice(_MATERIALS)}"
        text = f"{title}: {chance.choice(_VIRTUES)} and {chance.choice(_VIRTUES)}"
        body = {"model": "text-embedding-3-small", "input": [title, text]}
        yield _request(f"product-{number:03d}", "/v1/embeddings", body)


def _request(custom_id: str, url: str, body: dict[str, Any]) -> str:
    request = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(request, ensure_ascii=False)


def _with_bad_lines(lines: list[str]) -> list[str]:
    """Return the lines with a few among them that people really send by mistake."""
    wrong = {
        120: lines[119][:-40],  # cut while it was copied
        240: _changed(lines[7], body={"model": "gpt-4o-mini", "messages": []}),  # an id again
        360: _changed(lines[0], custom_id=""),
        480: _changed(lines[0], custom_id="ticket-stream", url="/v1/chat/completion"),
        600: _changed(lines[0], custom_id="ticket-get", method="GET"),
    }
    for place, line in sorted(wrong.items(), reverse=True):
        lines.insert(place, line)
    return lines


def _changed(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields, ensure_ascii=False)


def _write_reviews(chance: random.Random) -> None:
    with (HERE / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["custom_id", "prompt"])
        for number in range(1, REVIEWS + 1):
            product, stars = chance.choice(_PRODUCTS), chance.randrange(1, 6)
            text = f"{stars} stars. This {product} {chance.choice(_OPINIONS)}. Review {number}"
            writer.writerow([f"review-{number:03d}", f'A customer writes: "{text}"'])
    settings = {
        "url": "/v1/chat/completions",
        "model": "gpt-4.1-nano",
        "system": "Is the review positive, mixed or negative? Answer with one word.",
        "parameters": {"max_completion_tokens": 5},
    }
    side_file = HERE / "reviews.job.json"
    side_file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write_lines(name: str, lines: list[str]) -> None:
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
