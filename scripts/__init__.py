"""The commands, each a screenful: scripts/train.py is also the command almeta-train."""

if __name__ == "scripts":
    raise ImportError("This folder is a part of the package almeta: import almeta.scripts, not scripts.")
