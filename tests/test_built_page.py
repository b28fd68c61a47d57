"""The reader of built pages finds what it is there for."""

from built_page import dead_links, read_page


def test_dead_links_and_dead_anchors_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="top">A</h1><a href="b.html#here">b</a><a href="#top">t</a>')
    (tmp_path / "b.html").write_text('<p id="here"></p><a href="codes.ipynb">c</a><a href="a.html#no">a</a>')
    assert dead_links(tmp_path, ["a"]) == []
    assert dead_links(tmp_path, ["a", "b"]) == ["b: codes.ipynb", "b: a.html#no"]


def test_links_to_other_places_are_not_followed(tmp_path):
    (tmp_path / "a.html").write_text('<a href="https://doi.org/10.1/x">x</a><a href="mailto:a@b.c">m</a>')
    assert dead_links(tmp_path, ["a"]) == []


def test_rows_are_counted_with_what_spans_them(tmp_path):
    page = tmp_path / "a.html"
    page.write_text(
        '<table><tr><th rowspan="2">p</th><td colspan="2">x</td></tr><tr><td>y</td><td>z</td></tr>'
        "<tr><td>only</td></tr></table><p>| [6](x) | y |</p><p><code>a | b</code></p>"
    )
    read = read_page(page)
    assert read.tables == [[3, 3, 1]]
    assert read.paragraphs == ["| [6](x) | y |", ""]
