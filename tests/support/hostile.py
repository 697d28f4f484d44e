"""Names that mean something to HTML, SVG, JSON, Tcl, make, a shell, Markdown, or a terminal."""

TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "]]></style><b>",
    "</title></svg><script>",
    "$(touch x)",
    "`touch x`; touch x #",
    "[exec touch x] $env(HOME)",
    "back\\slash \\n |pipe| *bold* &amp; {{ 7 * 7 }} {% raw %}",
)
UNPRINTABLE = ("a\nb", "a\0b", "\x1b[2J", "a\r\n- b", "\u202egnp.exe", "\ud800")
ALL = " ".join(TEXTS)
