"""Sphinx configuration: MyST pages, furo's looks."""

project = "StoreSCP for AWS HealthImaging"
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
exclude_patterns = ["_build"]
