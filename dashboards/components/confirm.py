"""The dialog before a deed: what will be done, to what, how much of it, and what follows."""

from dataclasses import dataclass

from dashboards.markup import EMPTY, Html, html


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question with its two buttons."""

    title: str
    """Verb, object and count: `Cancel batch 11?`, `Delete the files of 12 batches?`."""
    text: str | Html
    """What happens then, and what does not."""
    verb: str
    """The words of the button that does it: `Cancel batch`."""
    keep: str = "Keep it"
    """The words of the button that does nothing."""
    danger: bool = False
    fields: Html = EMPTY
    """Form fields with names; their values are the answer."""

    def as_html(self) -> Html:
        """Return what stands in the dialog."""
        return html(
            "<h2>{title}</h2><div>{text}</div>{fields}<footer>"
            '<button type="button" class="button" data-keep autofocus>{keep}</button>'
            '<button type="submit" class="button {kind}" data-yes>{verb}</button></footer>',
            title=self.title, text=self.text, fields=self.fields, keep=self.keep, verb=self.verb,
            kind="danger" if self.danger else "primary",
        )  # fmt: skip
