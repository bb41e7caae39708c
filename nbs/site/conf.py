"How Sphinx builds the site; `poselab.site` prepares what it reads"
import re
from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

project,author,copyright = 'poselab','The poselab authors','The poselab authors, Apache-2.0'
extensions = ['myst_nb']
nb_execution_mode = 'off' # pages show the outputs they were committed with
nb_render_markdown_format = 'myst' # what cells print as Markdown: tables, formulas, links to pages
nb_merge_streams = True
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3
suppress_warnings = ['myst.header', 'mystnb.unknown_mime_type'] # from ## to ####; what a kernel would show and a page cannot
exclude_patterns = ['README.md'] # index.md brings it in

html_theme = 'sphinx_book_theme'
html_title,html_logo,html_favicon = 'poselab','_static/logo.svg','_static/icon.svg'
html_static_path,html_css_files = ['_static'],['style.css']
html_copy_source = html_show_sourcelink = False
html_theme_options = dict(show_toc_level=1, show_navbar_depth=1, collapse_navbar=True, use_download_button=False, use_fullscreen_button=False)

def formula(block):
    "A formula as MathML, which browsers draw by themselves: no script, no font, no network"
    def visit(self, node):
        tex = re.sub(r'\\[bB]igg?(?![a-z])', '', node.astext()) # docutils has no fixed sizes: fences stretch by themselves
        try: math = tex2mathml(tex, as_block=block)
        except MathError as e: math = logging.getLogger(__name__).warning('%s in the formula %s', e, tex, location=node) or ''
        self.body.append(f'<div class="formula">{math}</div>' if block else math)
        raise SkipNode
    return visit, None

def setup(app):
    app.add_html_math_renderer('mathml', formula(False), formula(True))
    app.config.html_math_renderer = 'mathml'
