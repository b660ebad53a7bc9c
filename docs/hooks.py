"""What mkdocs does beyond its pages: pages out of files that lie elsewhere, and links that work in both places.

README.md, CONTRIBUTING.md and CHANGELOG.md are read where they lie, so that there is no second copy. Each room of
the code gets a page of the reference. Links in all pages lead from file to file of the repository; here they are
turned into links from page to page.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# Folders of the repository that are imported below almeta.
OUTSIDE = ("envs", "agents", "scripts")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def rooms() -> list[str]:
    """Names of what gets a page of the reference, `almeta` first."""
    found = {path.parent.name for path in (ROOT / "almeta").glob("*/__init__.py")} - {"conf"}
    return ["almeta", *(f"almeta.{name}" for name in sorted(found))]


def reference_page(room: str) -> str:
    """The Markdown of a room's page, which mkdocstrings fills in: what its package file defines, then each module."""
    folder = ROOT / room.replace(".", "/")
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    if room == "almeta":  # the public face, whatever it is made of
        members = ""
    else:  # what the package file only imports is shown where it is defined
        modules += sorted(path.parent.name for path in folder.glob("*/__init__.py"))
        body = ast.parse((folder / "__init__.py").read_text("utf-8")).body
        names = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        members = f"      members: {names or 'false'}\n"
    options = f"    options:\n      show_root_heading: false\n      show_submodules: false\n{members}"
    return f"# {room}\n\n::: {room}\n{options}" + "".join(f"\n::: {room}.{name}\n" for name in modules)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the reference in the navigation."""
    assert config.nav is not None
    reference: dict[str, Any] = config.nav[-1]
    reference["Reference"] = [{room: f"reference/{room}.md"} for room in rooms()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / source).read_text("utf-8")))
    for room in rooms():
        files.append(File.generated(config, f"reference/{room}.md", content=reference_page(room)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    uri = page.file.src_uri
    source = {uri: source for source, uri in PAGES.items()}.get(uri, f"docs/{uri}")

    def replace(link: re.Match[str]) -> str:
        picture, text, target, anchor = link.groups()
        if ":" in target or uri.startswith("reference/"):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if not (ROOT / path).exists():
            raise PluginError(f"{source} links to {target}, which is not there")
        there = page_of(path)
        if there is None:
            return text
        relative = posixpath.relpath(there.partition("#")[0], posixpath.dirname(uri) or ".")
        return f"{picture}[{text}]({relative}{anchor or there[len(there.partition('#')[0]) :]})"

    return LINK.sub(replace, markdown)


def page_of(path: str) -> str | None:
    """Where the site shows a file of the repository; None for files that are not shown."""
    if path in PAGES:
        return PAGES[path]
    top, _, rest = path.partition("/")
    if top == "docs":
        return rest
    if not path.endswith(".py") or top not in ("almeta", *OUTSIDE):
        return None
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    module = module if top == "almeta" else f"almeta.{module}"
    room = ".".join(module.split(".")[:2]) if ".".join(module.split(".")[:2]) in rooms() else "almeta"
    return f"reference/{room}.md#{module}"
