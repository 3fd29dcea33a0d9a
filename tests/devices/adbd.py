"""The phone's side of adb over TCP, in front of a folder that is its root: mksh and toybox, as on Android, in a chroot.

    python adbd.py PORT ROOT

From the protocol's description in AOSP (packages/modules/adb: protocol.txt, SYNC.TXT, shell_protocol.h). As adbd does,
each command gets a session of its own, and a SIGHUP with the end of its input when the host goes away.
"""

import asyncio
import os
import shutil
import signal
import struct
import sys
from pathlib import Path

CNXN, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
VERSION, LARGEST = 0x01000001, 256 * 1024
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
SHELL = 2000  # adb's user on a phone


def is_unprivileged(root: Path) -> bool:
    """Whether programs run as adb's user, as on a phone, to which things can be denied; else as root."""
    return (root / "unprivileged").exists()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, root: Path):
        self.reader, self.writer, self.root = reader, writer, root
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        self.writer.write(head + data)
        await self.writer.drain()

    async def serve(self) -> None:
        number = 0
        try:
            while True:
                head = struct.unpack("<6I", await self.reader.readexactly(24))
                command, first, second, length = head[:4]
                data = await self.reader.readexactly(length)
                stream = self.streams.get(second)
                if command == CNXN:
                    features = b"" if (self.root / "old").exists() else b"shell_v2,cmd"
                    await self.send(CNXN, VERSION, LARGEST, b"device::ro.product.model=Pixel 6;features=" + features)
                elif command == OPEN:
                    number += 1
                    stream = self.streams[number] = Stream(self, number, first)
                    task = asyncio.create_task(stream.serve(data.rstrip(b"\0").decode()))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                elif stream is not None and command == OKAY:
                    stream.taken.set()
                elif stream is not None and command == WRTE:
                    stream.given.put_nowait(data)
                    await self.send(OKAY, second, first)
                elif stream is not None and command == CLSE:
                    stream.hang_up()
        except (asyncio.IncompleteReadError, ConnectionError):
            for stream in list(self.streams.values()):
                stream.hang_up()
        finally:
            self.writer.close()


class Stream:
    def __init__(self, connection: Connection, mine: int, theirs: int):
        self.connection, self.mine, self.theirs = connection, mine, theirs
        self.given: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.taken, self.rest, self.gone = asyncio.Event(), b"", False
        self.process: asyncio.subprocess.Process | None = None

    def hang_up(self) -> None:
        self.gone = True
        self.given.put_nowait(None)
        self.taken.set()
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGHUP)

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), LARGEST):
            if self.gone:
                return
            self.taken.clear()
            await self.connection.send(WRTE, self.mine, self.theirs, data[start : start + LARGEST])
            await self.taken.wait()

    async def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = await self.given.get()
            if data is None:
                raise EOFError
            self.rest += data
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    async def serve(self, service: str) -> None:
        await self.connection.send(OKAY, self.mine, self.theirs)
        try:
            if service.startswith("shell,v2"):
                await self.shell(service.partition(":")[2])
            elif service == "sync:":
                await self.sync()
        except (EOFError, ConnectionError):
            pass
        if not self.connection.writer.is_closing():
            await self.connection.send(CLSE, self.mine, self.theirs)
        self.connection.streams.pop(self.mine, None)

    async def shell(self, line: str) -> None:
        pipe = asyncio.subprocess.PIPE
        root = self.connection.root
        user = [f"--userspec={SHELL}:{SHELL}"] if is_unprivileged(root) else []
        self.process = process = await asyncio.create_subprocess_exec(
            *(CHROOT, *user, str(root), "/system/bin/sh", "-c", line or "exec sh"),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            env={"PATH": "/system/bin", "HOME": "/", "TMPDIR": "/data/local/tmp"},
            cwd=self.connection.root,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None

        async def pump(source: asyncio.StreamReader, kind: int) -> None:
            while data := await source.read(1 << 16):
                await self.write(struct.pack("<BI", kind, len(data)) + data)

        async def take(sink: asyncio.StreamWriter) -> None:
            try:
                while True:
                    kind, size = struct.unpack("<BI", await self.read(5))
                    data = await self.read(size)
                    if kind == STDIN:
                        sink.write(data)
                        await sink.drain()
                    elif kind == CLOSE_STDIN:
                        sink.close()
            except (EOFError, ConnectionError):
                sink.close()

        taking = asyncio.create_task(take(process.stdin))
        await asyncio.gather(pump(process.stdout, STDOUT), pump(process.stderr, STDERR))
        code = await process.wait()
        taking.cancel()
        await self.write(struct.pack("<BIB", EXIT, 1, code & 255))

    def path(self, name: str) -> Path:
        return self.connection.root / name.lstrip("/")

    async def sync(self) -> None:
        while True:
            word, size = struct.unpack("<4sI", await self.read(8))
            if word == b"QUIT":
                return
            name = (await self.read(size)).decode()
            if word == b"STAT":
                await self.write(b"STAT" + struct.pack("<3I", *self.stat(name)))
            elif word == b"SEND":
                await self.take_file(name)
            elif word == b"RECV":
                await self.give_file(name)
            else:
                return

    def stat(self, name: str) -> tuple[int, int, int]:
        try:
            found = self.path(name).lstat()
        except OSError:
            return 0, 0, 0
        return found.st_mode, found.st_size, int(found.st_mtime)

    async def take_file(self, name: str) -> None:
        name, _, mode = name.rpartition(",")
        data = bytearray()
        while True:
            word, size = struct.unpack("<4sI", await self.read(8))
            if word == b"DONE":
                break
            data += await self.read(size)
        try:
            self.path(name).write_bytes(data)
            self.path(name).chmod(int(mode) & 0o777 | 0o600)
            if is_unprivileged(self.connection.root):
                os.chown(self.path(name), SHELL, SHELL)
        except OSError as error:
            await self.fail(error)
        else:
            await self.write(b"OKAY" + bytes(4))

    async def give_file(self, name: str) -> None:
        try:
            data = self.path(name).read_bytes()
        except OSError as error:
            await self.fail(error)
            return
        for start in range(0, len(data), 1 << 16):
            part = data[start : start + (1 << 16)]
            await self.write(b"DATA" + struct.pack("<I", len(part)) + part)
        await self.write(b"DONE" + bytes(4))

    async def fail(self, error: OSError) -> None:
        text = str(error).encode()
        await self.write(b"FAIL" + struct.pack("<I", len(text)) + text)


async def main(port: int, root: Path) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: Connection(reader, writer, root).serve(), "127.0.0.1", port
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    os.setsid()
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
