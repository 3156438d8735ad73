"""What a hostile program may show. `CANARY` and `HOME` stand for the addresses of the canary and of
the server that has the page; `FIRE` for a script that makes itself known."""

from __future__ import annotations

from pathlib import Path

_PAGES = Path(__file__).parent / "hostile"

#: Reaches whatever it can, in a frame or in the page.
FIRE = (
    "try{top.fired=1}catch(e){};try{window.fired=1}catch(e){};"
    "try{alert('fired')}catch(e){};try{fetch('CANARY/fire')}catch(e){}"
)
#: An element that fires without being touched, wherever HTML is taken as it is.
IMAGE = '<img src=x onerror="FIRE">'

#: A page in a frame that tries everything, and then says so: `data-done` of its body, and what it
#: got in `#got`.
FRAME = (_PAGES / "frame.html").read_text(encoding="utf-8")
#: A page of another port, which says so in the same way.
OTHER = (_PAGES / "other.html").read_text(encoding="utf-8")

#: Pages in frames that leave by themselves, each in its own way.
LEAVING = {
    "location": "<script>location = 'CANARY/location'</script>",
    "replace": "<script>location.replace('CANARY/replace')</script>",
    "meta": '<meta http-equiv="refresh" content="0;url=CANARY/meta">',
    "link": "<a id=a href='CANARY/a'>x</a><script>document.getElementById('a').click()</script>",
    "self": "<script>window.open('CANARY/self', '_self')</script>",
    "form": "<form action='CANARY/form'></form><script>document.forms[0].submit()</script>",
    "data": "<script>location = `data:text/html,<script>FIRE<\\/script>`</script>",
    "blob": (
        "<script>location = URL.createObjectURL(new Blob(['<img src=CANARY/blob>'],"
        "{type:'text/html'}))</script>"
    ),
    "script": "<script>location = `javascript:FIRE`</script>",
    "written": "<script>document.open();document.write('<img src=CANARY/written>')</script>",
    "nested": "<iframe srcdoc=\"<script>parent.location='CANARY/nested'</script>\"></iframe>",
    "home": "<script>location = 'HOME/'</script>",
    "home's data": "<script>location = 'HOME/page/state'</script>",
    "home's logout": "<script>location = 'HOME/page/logout'</script>",
}

SVG = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
width="80" height="40" onload="FIRE"><script>FIRE</script><script href="CANARY/svg.js"/>
<style>@import url(CANARY/svg.css); rect {fill: url(CANARY/fill.svg#x)}</style>
<rect width="80" height="40" fill="teal"/><image href="CANARY/in-svg.png" width="9" height="9"/>
<use xlink:href="CANARY/use.svg#x"/><a xlink:href="javascript:FIRE"><text y="20">svg</text></a>
<animate attributeName="href" onbegin="FIRE" begin="0s" dur="1s"/><set attributeName="onclick"
to="FIRE"/><foreignObject width="80" height="40"><body xmlns="http://www.w3.org/1999/xhtml">
<iframe src="CANARY/foreign"/><img src="x" onerror="FIRE"/></body></foreignObject></svg>"""

MARKDOWN = """# A title IMAGE

<script>FIRE</script><svg onload="FIRE"/><iframe src="CANARY/markdown"></iframe>
<style>body {background: url(CANARY/markdown.css)}</style><form action="CANARY/f"><button>b</button>
</form>

[script](javascript:FIRE) [Script](JaVaScRiPt:FIRE) [tab](java&#9;script:FIRE)
[entity](&#106;avascript:FIRE) [data](data:text/html,<script>FIRE</script>)
[vb](vbscript:FIRE) [file](file:///etc/passwd) [plain](http://plain.example/x)
[title](http://plain.example "x\\" onmouseover=\\"FIRE")
![picture](CANARY/picture.png) ![script](javascript:FIRE)
![svg](data:image/svg+xml,<svg/onload=FIRE>) <javascript:FIRE> <CANARY/auto>

| a | b |
|---|---|
| IMAGE | `IMAGE` |

```html
IMAGE
```

```"><img src=x onerror=FIRE>
x
```

[reference]: javascript:FIRE "x"
[reference] and a marker: markdown-end
"""

LATEX = [
    r"\href{javascript:FIRE}{x}",
    r"\url{javascript:FIRE}",
    r"\includegraphics{CANARY/latex.png}",
    r"\text{IMAGE}",
    r"\unicode{<script>FIRE</script>}",
    r"\style{background:url(CANARY/style)}{x}",
    r"\class{x onclick=FIRE}{x}",
    r"\color{red;background:url(CANARY/color)}{x}",
    r"\mathrm{</math>IMAGE}",
    r"\operatorname{IMAGE}",
    r"\begin{array}{IMAGE}x\end{array}",
    r"x <script>FIRE</script> y",
    "</math></annotation>IMAGE",
]

#: On a terminal they would be more than text.
TEXT = (
    "IMAGE <script>FIRE</script> </pre></div>IMAGE &lt;img src=x onerror=FIRE&gt;\n"
    "\x1b]8;;javascript:FIRE\x1b\\link\x1b]8;;\x1b\\ \x1b]8;;CANARY/ansi\x07link\x1b]8;;\x07\n"
    '\x1b]0;IMAGE\x07\x1b[31mIMAGE\x1b[0m \x1b[38;5;"><img src=x onerror=FIRE>m \x1b[1;31;IMAGEm\n'
    "\x9b31mIMAGE \u202eEMAGI \u2028IMAGE\u2029 \x00 \x08\x08 javascript:FIRE CANARY/text\n"
)

#: Names, titles, values of errors, and so on.
NAMES = [
    "IMAGE",
    '"><script>FIRE</script>',
    "' onmouseover='FIRE' x='",
    "javascript:FIRE",
    "__proto__",
    "constructor",
    "../..",
    "a/b?c#d&e=%2e%2e%2f",
    "\u202ereversed",
]


def filled(text: str, canary: str, home: str) -> str:
    """With the addresses in place."""
    for name, value in (("IMAGE", IMAGE), ("FIRE", FIRE), ("CANARY", canary), ("HOME", home)):
        text = text.replace(name, value)
    return text
