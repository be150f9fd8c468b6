"""The page on which people log in: one form, no script, light or dark as the browser likes it."""

import base64
import hashlib
from html import escape
from typing import Final

_STYLE: Final = """\
:root { color-scheme: light dark; --page: #f7f8fa; --paper: #fff; --ink: #111827; --soft: #52606f;
  --line: #8c96a4; --edge: rgba(140,150,165,.3);
  --lead: #0a7457; --on-lead: #fff; --wrong: #b42318 }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --paper: #171b21; --ink: #e6e9ee;
  --soft: #a9b3c0; --line: #7b8696; --lead: #19c69a; --on-lead: #06251c; --wrong: #ff8f85 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 16px;
  background: var(--page); color: var(--ink); font: 16px/1.5 Inter, Roboto, system-ui, sans-serif }
main { width: 100%; max-width: 400px; padding: 32px; background: var(--paper);
  border: 1px solid var(--edge); border-radius: 12px }
h1 { margin: 0 0 4px; font-size: 22px; line-height: 1.3 }
p { margin: 0 0 20px; color: var(--soft); font-size: 14px }
p.wrong { color: var(--wrong); font-weight: 600 }
label { display: block; margin-bottom: 6px; font-weight: 600; font-size: 14px }
input { width: 100%; padding: 10px 12px; font: inherit; color: inherit; background: var(--page);
  border: 1px solid var(--line); border-radius: 8px }
button { width: 100%; margin: 16px 0 20px; padding: 11px; font: inherit; font-weight: 600;
  border: 0; border-radius: 8px; cursor: pointer; color: var(--on-lead); background: var(--lead) }
input:focus-visible, button:focus-visible { outline: 3px solid var(--lead); outline-offset: 2px }
code { padding: 1px 5px; border-radius: 4px; background: var(--page); overflow-wrap: anywhere }
p.hint { margin: 0; font-size: 13px }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in: OpenAI Batch Manager</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>OpenAI Batch Manager</h1>
{message}
<form method="post" action="/ui/login">
<input type="hidden" name="next" value="{target}">
<label for="token">Access token</label>
<input id="token" name="token" type="password" placeholder="obm_…" required autofocus
  autocomplete="current-password" autocapitalize="off" spellcheck="false"{described}>
<button type="submit">Log in</button>
</form>
<p class="hint">An administrator makes a token with
<code>obm token create NAME --scope read --scope operate</code>; <code>read</code> alone is enough
to look.</p>
</main>
</body>
</html>
"""
_ONWARD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>OpenAI Batch Manager</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0;url={address}">
</head>
<body><a href="{address}">Go on</a></body>
</html>
"""


def login_page(target: str, wrong: str | None = None) -> bytes:
    """Return the page; `wrong` is what was not right with the last try."""
    if wrong is None:
        message = "<p>Log in with your access token.</p>"
    else:
        message = f'<p class="wrong" id="wrong" role="alert">{escape(wrong)}</p>'
    described = "" if wrong is None else ' aria-describedby="wrong" aria-invalid="true"'
    return _PAGE.format(
        style=_STYLE, message=message, target=escape(target), described=described
    ).encode()


def onward_page(address: str) -> bytes:
    """Return a page that leads on to another one by itself."""
    return _ONWARD.format(address=escape(address)).encode()
