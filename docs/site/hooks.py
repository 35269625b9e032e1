"""Adds the generated pages to the site (MkDocs calls this by its name)."""

from __future__ import annotations

import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Every page of `pages.generated` beside those of docs/."""
    for path, content in pages.generated().items():
        files.append(File.generated(config, path, content=content))
    return files
