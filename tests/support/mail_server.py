"""A real SMTP server on loopback (aiosmtpd) that takes mails as the test scripts."""
import email
import email.policy
import logging
import os
import socket
import ssl
import subprocess
import tempfile

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

logging.getLogger("mail").setLevel(logging.CRITICAL)  # what the library says of clients that hang up is what the tests are about


class Certificate:
    """Signed by itself, for localhost and the addresses of this machine."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-mail-")
        self.file, self.key = (os.path.join(self.folder.name, name) for name in ("cert.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:0.0.0.0",
                        "-keyout", self.key, "-out", self.file], check=True, capture_output=True)
        os.chmod(self.folder.name, 0o755)

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


class MailServer:
    """`script` has one step for each mail that is begun, the last one for all that follow: "ok", "drop" (takes the mail and hangs up
    without a word), ("rcpt", reply) or ("data", reply). `taken` are the mails that were taken, parsed, with `envelope` and `tls`;
    `logins` the passwords that were presented."""

    USER, PASSWORD = "millrace", "p@ss:word/1"

    def __init__(self, certificate=None):
        self.script, self.taken, self.logins, self.certificate = ["ok"], [], [], certificate
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self):
        tls = {"tls_context": self.certificate.context(), "require_starttls": True} if self.certificate else {"auth_require_tls": False}
        self.controller = Controller(self, "127.0.0.1", self.port, authenticator=self.authenticate, auth_required=True, **tls)
        self.controller.start()

    def stop(self):
        self.controller.stop()

    def authenticate(self, server, session, envelope, mechanism, data):
        password = data.password.decode()
        self.logins.append(password)
        return AuthResult(success=(data.login.decode(), password) == (self.USER, self.PASSWORD))

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 (the library's name)
        self.step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if self.step[0] == "rcpt":
            return self.step[1]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.step[0] == "data":
            return self.step[1]
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        mail.envelope, mail.tls = (envelope.mail_from, envelope.rcpt_tos), session.ssl is not None
        self.taken.append(mail)
        if self.step == "drop":
            server.transport.abort()
        return "250 OK"
