"""A process that has imported all that `label` needs. For each line, a folder and arguments, it runs it in a child.

A page starts in a second, so that it can be killed many times.
"""

import os
import sys

import almeta.page.config
import almeta.page.site  # noqa: F401
from almeta.processes import end_with
from almeta.scripts.label import main

end_with(os.getppid())
for line in sys.stdin:
    if pid := os.fork():
        print("child", pid, flush=True)
        os.waitpid(pid, 0)
        print("ended", flush=True)
    else:
        end_with(os.getppid())
        folder, *arguments = line.rstrip("\n").split("\t")
        os.chdir(folder)
        sys.argv = ["almeta-label", *arguments]
        main()
        os._exit(0)
