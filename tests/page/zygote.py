"""A process that has imported all that `label` needs. For each line, a folder and arguments, it runs it in a child.

A page starts in a second, so that it can be killed many times.
"""

import os
import sys
import threading

import almeta.page.config
import almeta.page.site  # noqa: F401
from almeta.processes import end_with
from almeta.scripts.label import main


def wait(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    print("ended", pid, os.waitstatus_to_exitcode(status), flush=True)


end_with(os.getppid())
for line in sys.stdin:
    if pid := os.fork():
        print("child", pid, flush=True)
        threading.Thread(target=wait, args=[pid], daemon=True).start()
    else:
        end_with(os.getppid())
        folder, *arguments = line.rstrip("\n").split("\t")
        os.chdir(folder)
        sys.argv = ["almeta-label", *arguments]
        main()
