"""The product page as HTML: one self-contained document, no asset from anywhere else.

Called by `productpage` with the same dictionary that its JSON answers. A few lines of script ask for the page again
every second and draw a strip of the last answers, so that a canary or a fault can be watched in a browser.
"""

from __future__ import annotations

from html import escape
from typing import Any

STARS = 5

_STYLE = """
:root{--ink:#1d2733;--soft:#5d6b7a;--line:#e3e1da;--paper:#faf8f3;--card:#fff;--sea:#17617a;--red:#c8352b;--warn:#b3701a}
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e0;--soft:#9aa7b4;--line:#2f3a45;--paper:#141b22;--card:#1b242d;
--sea:#6cb8d0;--red:#ff7b6e;--warn:#e8ad5e}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:17px/1.55 Georgia,"Iowan Old Style","Times New Roman",serif}
main{max-width:54rem;margin:0 auto;padding:2.2rem 1.4rem}
header{display:flex;gap:1.2rem;align-items:baseline;justify-content:space-between;flex-wrap:wrap;
border-bottom:1px solid var(--line);padding-bottom:.9rem;margin-bottom:2rem}
.shop{font-size:1.05rem;letter-spacing:.02em}.shop svg{height:1.1em;vertical-align:-.15em;margin-right:.45em}
small,.small,dt{font:14px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--soft)}
a{color:var(--sea)}h1{font-size:2.1rem;line-height:1.15;margin:0 0 .2rem;font-weight:600}
.book{display:grid;grid-template-columns:11rem 1fr;gap:2rem;align-items:start}
.cover{width:11rem;border-radius:3px;box-shadow:0 1px 2px #0003,0 8px 24px #0002;display:block}
dl{display:grid;align-items:baseline;grid-template-columns:auto 1fr;gap:.1rem 1.2rem;margin:1.1rem 0 0}dd{margin:0}
h2{font-size:1.05rem;font-weight:600;margin:2.4rem 0 .8rem;display:flex;gap:.7rem;align-items:baseline}
.tag{font:600 13px/1 system-ui,sans-serif;padding:.28rem .5rem;border-radius:99px;border:1px solid var(--line);
color:var(--soft)}
.reviews{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1rem}
blockquote{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem 1.1rem}
blockquote p{margin:0 0 .5rem}.stars{letter-spacing:.12em;font-size:1.15rem}
.stars i{color:var(--line);font-style:normal}.black{color:var(--ink)}.red{color:var(--red)}
.note{color:var(--warn);font:15px/1.5 system-ui,sans-serif;background:var(--card);border:1px solid var(--line);
border-left:3px solid var(--warn);border-radius:8px;padding:.8rem 1rem;margin:0 0 1rem}
.strip{display:flex;gap:3px;height:22px;margin:.4rem 0}.strip b{flex:1;max-width:16px;border-radius:3px;
background:var(--line)}.strip .v1{background:#9fb0bf}.strip .v2{background:var(--ink)}.strip .v3{background:var(--red)}
.strip .bad{background:repeating-linear-gradient(45deg,var(--warn) 0 4px,transparent 4px 7px)}
.key span{margin-right:1.1rem;white-space:nowrap}.key b{display:inline-block;width:.75em;height:.75em;border-radius:2px;
margin-right:.35em}
@media(max-width:34rem){.book{grid-template-columns:1fr}.cover{width:8rem}h1{font-size:1.7rem}}
"""

# Every id below is read by the script; the server renders the same markup, so the page also works without it.
_SCRIPT = """
const strip=document.getElementById('strip');
async function look(){
  let kind='bad',text='the page did not answer';
  try{
    const answer=await fetch(location.href,{cache:'no-store'});
    const fresh=new DOMParser().parseFromString(await answer.text(),'text/html').getElementById('reviews');
    document.getElementById('reviews').replaceWith(fresh);
    kind=fresh.dataset.kind;text=fresh.dataset.text;
  }catch(problem){}
  const mark=document.createElement('b');mark.className=kind;mark.title=text;strip.append(mark);
  while(strip.children.length>40)strip.firstChild.remove();
  setTimeout(look,1000);
}
document.getElementById('live').hidden=false;look();
"""

_SAIL = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 18 20 3c1 6-1 12-3 15z" fill="var(--sea)"/>'
    '<path d="M2 20h20l-3 3H6z" fill="currentColor"/></svg>'
)

_COVER = (
    '<svg class="cover" viewBox="0 0 176 250" role="img" aria-label="Cover: a small sail on a wide sea">'
    '<rect width="176" height="250" fill="#123a4c"/><circle cx="126" cy="70" r="22" fill="#f0c987"/>'
    '<path d="M0 168q22-9 44 0t44 0 44 0 44 0v82H0z" fill="#1d5b73"/>'
    '<path d="M0 190q22-9 44 0t44 0 44 0 44 0v60H0z" fill="#2a7591"/>'
    '<path d="M66 158 104 78c10 28 6 60-6 80z" fill="#f7f2e6"/><path d="M58 162h52l-8 13H68z" fill="#0c2430"/>'
    '<path d="M0 212q22-9 44 0t44 0 44 0 44 0v38H0z" fill="#3a8faa"/></svg>'
)


def render_page(product: dict[str, Any]) -> str:
    """Render the whole page from what the JSON interface answers. Everything from outside is escaped."""
    details, user = product["details"], str(product["user"])
    title = str(details.get("title", "A book"))
    who = (
        f'<small>reading as <b>{escape(user)}</b> &middot; <a href="/">sign out</a></small>'
        if user
        else '<small><a href="/?user=jason">read as jason</a></small>'
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        f'<header><span class="shop">{_SAIL}The Lateen bookshop</span>{who}</header>'
        f'<section class="book">{_COVER}<div><h1>{escape(title)}</h1>{_details(details)}</div></section>'
        f"{_reviews(product['reviews'])}"
        '<section id="live" hidden><h2>The last answers, one a second</h2><div class="strip" id="strip"></div>'
        '<div class="key small"><span><b style="background:#9fb0bf"></b>v1</span>'
        '<span><b style="background:var(--ink)"></b>v2</span><span><b style="background:var(--red)"></b>v3</span>'
        '<span><b style="background:var(--warn)"></b>something failed</span></div></section>'
        f"</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _details(details: dict[str, Any]) -> str:
    if "error" in details:
        return f'<p class="note">The details service answered {details["status"]}: {escape(str(details["error"]))}</p>'
    rows = "".join(
        f"<dt>{label}</dt><dd>{escape(str(details[key]))}</dd>"
        for label, key in (("Published", "year"), ("By", "publisher"), ("Pages", "pages"), ("Language", "language"))
    )
    return f"<div>{escape(str(details['author']))}</div><dl>{rows}</dl>"


def _reviews(reviews: dict[str, Any]) -> str:
    if "error" in reviews:
        text = f"The reviews service answered {reviews['status']}: {reviews['error']}"
        return (
            f'<section id="reviews" data-kind="bad" data-text="{escape(text)}"><h2>Readers say</h2>'
            f'<p class="note">{escape(text)}</p></section>'
        )
    version = escape(str(reviews["version"]))
    missing = reviews.get("ratings_error", "")
    note = f'<p class="note">No stars today. The ratings service answered {escape(missing)}</p>' if missing else ""
    kind, text = ("bad", f"{version}, ratings failed") if missing else (version, version)
    quotes = "".join(
        f"<blockquote><p>{escape(entry['text'])}</p>{_stars(entry.get('rating'))}"
        f"<small>{escape(entry['reviewer'])}</small></blockquote>"
        for entry in reviews["reviews"]
    )
    return (
        f'<section id="reviews" data-kind="{kind}" data-text="{text}"><h2>Readers say'
        f' <span class="tag">reviews {version}</span></h2>{note}<div class="reviews">{quotes}</div></section>'
    )


def _stars(rating: dict[str, Any] | None) -> str:
    if rating is None:
        return ""
    stars, color = int(rating["stars"]), escape(rating["color"])
    label = f"{stars} of {STARS} stars"
    return (
        f'<div class="stars {color}" role="img" aria-label="{label}">{"★" * stars}<i>{"★" * (STARS - stars)}</i></div>'
    )
