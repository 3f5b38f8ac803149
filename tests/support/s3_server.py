"""A real S3-compatible server on loopback (S3Proxy, which checks signatures), its objects being files of a folder.

    with S3Server() as s3: s3.url, s3.settings (MILLRACE_OBJECT_*), s3.files(), s3.age(key, hours), s3.unfinished()

As a program it serves until its standard input ends, and says first where: URL, bucket, access key, secret key, folder."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CACHE = os.environ.get("MILLRACE_CACHE") or os.path.expanduser("~/.cache/millrace")  # as scripts/setup has it
ACCESS, SECRET, BUCKET = "AKTESTSOFMILLRACE", "a secret/of+tests=", "documents"
QUIET = '<configuration><appender name="E" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%msg%n</pattern></encoder></appender>' \
        '<root level="WARN"><appender-ref ref="E"/></root></configuration>'


class S3Server:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="millrace-s3-")
        self.data = os.path.join(self.folder, "data")
        os.makedirs(os.path.join(self.data, BUCKET))
        self.port = 0
        for _ in range(5):  # somebody else may take the port before the server does
            if self.start():
                break
        else:
            self.close()
            raise RuntimeError("the S3 server did not start: " + self.said())
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {"MILLRACE_OBJECT_URL": self.url, "MILLRACE_OBJECT_BUCKET": BUCKET, "MILLRACE_OBJECT_ACCESS_KEY": ACCESS,
                         "MILLRACE_OBJECT_SECRET_KEY": SECRET}

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self):
        """Also after stop(): on the port of before."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        settings = self.write("s3proxy.properties", f"s3proxy.endpoint=http://127.0.0.1:{self.port}\ns3proxy.authorization=aws-v4\n"
                              f"s3proxy.identity={ACCESS}\ns3proxy.credential={SECRET}\njclouds.provider=filesystem\n"
                              f"jclouds.filesystem.basedir={self.data}\n")
        logging = self.write("logback.xml", QUIET)
        with open(os.path.join(self.folder, "log"), "w") as log:
            self.process = subprocess.Popen(
                ["java", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", f"-Dlogback.configurationFile={logging}",
                 "-cp", os.path.join(CACHE, "s3proxy/*"), "org.gaul.s3proxy.Main", "--properties", settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return True
            time.sleep(0.05)  # the pace of asking
        self.stop()
        self.port = 0
        return False

    def answers(self):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return True  # it wants a signature
        except OSError:
            return False
        return True

    def said(self):
        with open(os.path.join(self.folder, "log")) as file:
            return file.read()[-2000:]

    def path(self, key):
        return os.path.join(self.data, BUCKET, key)

    def walk(self):
        top = os.path.join(self.data, BUCKET)
        return sorted(os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names)

    def files(self):
        """Keys of the objects; the server keeps notes and parts of unfinished uploads beside them."""
        return [name for name in self.walk() if not name.startswith(".mpus-")]

    def unfinished(self):
        """The server's notes of them."""
        return [name for name in self.walk() if name.startswith(".mpus-") and name.endswith("-stub")]

    def age(self, key, hours):
        then = time.time() - hours * 3600
        os.utime(self.path(key), (then, then))

    def stop(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


if __name__ == "__main__":
    with S3Server() as server:
        print(server.url, BUCKET, ACCESS, server.data, SECRET, sep="\n", flush=True)
        sys.stdin.read()
