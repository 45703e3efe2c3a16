"""A PostgreSQL server of the tests' own, from Debian's package `postgresql`: on a socket in a temporary folder, without a port."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import unittest


class Postgres:
    """Skips the test where no server is installed. initdb refuses root, so root runs it as the user postgres."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            raise unittest.SkipTest("no PostgreSQL server is installed (Debian's package postgresql)")
        self.folder = tempfile.mkdtemp(prefix="hedge-pg-")
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            options.update(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
        data = self.folder + "/data"
        subprocess.run([found[-1] + "/initdb", "-D", data, "-A", "trust", "-U", "hedge", "-E", "UTF8", "--locale=C", "--no-sync"],
                       check=True, timeout=120, **options)
        self.process = subprocess.Popen([found[-1] + "/postgres", "-D", data, "-k", self.folder, "-c", "listen_addresses="],
                                        **options)
        for _ in range(300):
            if subprocess.run([found[-1] + "/pg_isready", "-h", self.folder], stdout=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        self.url = f"postgresql://hedge@/postgres?host={self.folder}"

    def close(self):
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)
