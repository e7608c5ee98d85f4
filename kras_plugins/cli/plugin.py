"""`kras plugin new|check|install|list|show`: what is installed, its options, and whether it does what it must."""

from __future__ import annotations

from kras_plugins.cli import plugin_check, plugin_install, plugin_list, plugin_new, plugin_show
from kras_plugins.cli.words import Commands

app = Commands("Installed plug-ins and their options; writing your own.")
app.add("new", plugin_new.new)
app.add("check", plugin_check.check_plugin)
app.add("install", plugin_install.install)
app.add("list", plugin_list.list_plugins)
app.add("show", plugin_show.show)
