"""Runs a program on a terminal of its own, and answers when it asks.

Reads one JSON object from stdin: argv, env, cwd, and dialogue, a list of [pattern, answer]; an answer is text, or
{"signal": NAME} for the program's foreground process, or null to only wait. Patterns are matched in order, each against
the output since the match before. Writes one JSON object: output, ending (exit code or name of the signal), echo (whether
the terminal echoes at the end), and unmatched (the first pattern that never came, or null).
"""

import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time

TIMEOUT_S = 45

spec = json.load(sys.stdin)
pid, terminal = pty.fork()
if pid == 0:
    os.chdir(spec["cwd"])
    os.execvpe(spec["argv"][0], spec["argv"], spec["env"])

output = b""
position = 0
dialogue = list(spec["dialogue"])
deadline = time.monotonic() + TIMEOUT_S
status = None
echo = True

while True:
    if status is None and time.monotonic() > deadline:
        os.kill(pid, signal.SIGKILL)
    readable, _, _ = select.select([terminal], [], [], 0.05)
    chunk = b""
    if readable:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            chunk = b""
    output += chunk
    while dialogue:
        match = re.search(dialogue[0][0], output[position:].decode("utf-8", "replace"))
        if match is None:
            break
        position += len(output[position:].decode("utf-8", "replace")[: match.end()].encode())
        answer = dialogue.pop(0)[1]
        if isinstance(answer, str):
            os.write(terminal, answer.encode())
        elif isinstance(answer, dict):
            os.kill(os.tcgetpgrp(terminal), getattr(signal, answer["signal"]))
    if status is None:
        try:
            echo = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
        except termios.error:
            pass
        ended, status_now = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = status_now
            echo = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
    elif not chunk:
        break

code = os.waitstatus_to_exitcode(status)
json.dump(
    {
        "output": output.decode("utf-8", "replace"),
        "ending": code if code >= 0 else signal.Signals(-code).name,
        "echo": echo,
        "unmatched": dialogue[0][0] if dialogue else None,
    },
    sys.stdout,
)
