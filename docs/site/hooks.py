"""What MkDocs calls by its name: adds the generated pages and drawings to the site."""

from __future__ import annotations

from typing import Any

import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add every page of `pages.generated` to those of docs/."""
    for path, content in pages.generated().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Add the drawings that pages of docs/ have on the site alone."""
    return pages.with_pictures(page.file.src_uri, markdown)
