"""One YAML a choice; experiment/ holds whole presets. Hydra reads this package as pkg://almeta.conf."""

if __name__ == "conf":
    raise ImportError("This folder is a part of the package almeta: import almeta.conf, not conf.")
