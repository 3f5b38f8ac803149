"""A TCP proxy that misbehaves on demand: latency, slices, resets, silence. Runs in a thread of its own.

    proxy = FaultProxy("127.0.0.1", 5432)      # listens on proxy.port
    proxy.latency = 0.05                       # seconds before each piece is passed on
    proxy.slice = 7                            # at most so many bytes at a time
    proxy.blackhole = True                     # takes everything, passes nothing on, refuses nobody
    proxy.refuse = True                        # new connections are closed at once
    proxy.reset_after = 10_000                 # each connection is reset after so many bytes
    proxy.reset_all()                          # RST to everybody, now
    proxy.heal()"""
import asyncio
import socket
import struct
import threading

PIECE = 64 << 10


class FaultProxy:
    def __init__(self, host, port):
        self.target = (host, port)
        self.heal()
        self.writers = set()
        self.loop = asyncio.new_event_loop()
        started = threading.Event()

        async def listen():
            self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()
        self.thread = threading.Thread(target=lambda: (self.loop.run_until_complete(listen()), self.loop.run_forever()), daemon=True)
        self.thread.start()
        started.wait(10)

    def heal(self):
        self.latency, self.slice, self.reset_after, self.refuse, self.blackhole = 0.0, PIECE, None, False, False

    def reset_all(self):
        asyncio.run_coroutine_threadsafe(self.reset_now(), self.loop).result(10)

    async def reset_now(self):
        for writer in list(self.writers):
            reset(writer)

    async def serve(self, reader, writer):
        if self.refuse:
            return reset(writer)
        self.writers.add(writer)
        far_writer = None
        end = reset
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            self.writers.add(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self.pump(reader, far_writer))
                both.create_task(self.pump(far_reader, writer))
            end = asyncio.StreamWriter.close  # both have said all: what they said still arrives
        except* OSError:
            pass
        finally:
            for one in (writer, far_writer):
                if one:
                    self.writers.discard(one)
                    end(one)

    async def pump(self, reader, writer):
        passed = 0
        while data := await reader.read(PIECE):
            while data:
                while self.blackhole:
                    await asyncio.sleep(0.02)
                piece, data = data[:self.slice], data[self.slice:]
                if self.latency:
                    await asyncio.sleep(self.latency)
                passed += len(piece)
                if self.reset_after is not None and passed > self.reset_after:
                    raise ConnectionResetError
                writer.write(piece)
                await writer.drain()
        writer.write_eof()

    def close(self):
        async def end():
            self.server.close()
            await self.reset_now()
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


def reset(writer):
    """Closes with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()
