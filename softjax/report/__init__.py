"""One self-contained HTML page from any result of an experiment, or of a sweep of one."""

from softjax.report._page import page as page
