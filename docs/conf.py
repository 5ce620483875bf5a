"""Sphinx configuration: MyST pages, furo's looks, the API from docstrings."""

project = "StoreSCP for AWS HealthImaging"
extensions = ["myst_parser", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
# Several modules name a field alike: a name in a signature cannot say which is meant.
suppress_warnings = ["ref.python"]
exclude_patterns = ["_build", "locales"]
# Data classes explain their fields in the docstring; a second list of them says nothing.
autodoc_default_options = {"member-order": "bysource", "undoc-members": False}
autodoc_typehints = "description"
autodoc_class_signature = "separated"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
