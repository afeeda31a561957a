// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package programs

// inPython wraps a script for python3; it finds the pipes as P
// and Q for reading, as WP and WQ for writing.
func inPython(name, before, body, after string) program {
	head := "import os, sys, select, selectors, time, errno, fcntl, hashlib\nfrom os import environ\n" +
		"P, Q, WP, WQ, OUT, IN, BIN = (environ[k] for k in ('P', 'Q', 'WP', 'WQ', 'OUT', 'IN', 'BIN'))\n"
	return program{name: name, script: before + "\npython3 - <<'PYTHON'\n" + head + body + "\nPYTHON\necho python $?\n" + after}
}

// Each script runs in one interpreter and drives the pipe's other end with a
// program or a descriptor of its own.
var python = []program{
	inPython("read-and-readline", `cat "$IN" >"$WP" & a=$!; cat "$IN" >"$WQ" & b=$!`, `
with open(P) as f: print(hashlib.sha256(f.read().encode()).hexdigest())
with open(Q) as f:
    first = f.readline()
    print(first, sum(len(line) for line in f))`, `end $a p; end $b q`),
	inPython("writelines", `cat "$P" >"$OUT/p" & a=$!; cat "$Q" >"$OUT/q" & b=$!`, `
with open(WP, 'w') as f: f.writelines(f'line {i}\n' for i in range(20000))
with open(WQ, 'ab', buffering=0) as f:
    for i in range(300): f.write(b'x' * i + b'\n')`, `end $a p; end $b q`),
	inPython("print-and-sigpipe", `head -n 1 "$P" & a=$!`, `
try:
    with open(WP, 'w') as f:
        while True: print('a line of text', file=f)
except BrokenPipeError as e: print('refused', e.errno == errno.EPIPE)`, `end $a head`),
	inPython("subprocess", `cat "$BIN" >"$WP" & a=$!; cat "$Q" >"$OUT/q" & b=$!`, `
import subprocess
with open(P, 'rb') as p: print(subprocess.run(['sha256sum'], stdin=p, capture_output=True).stdout)
with open(WQ, 'wb') as q: print(subprocess.run(['seq', '5000'], stdout=q).returncode)`, `end $a p; end $b q`),
	inPython("read-loops", `cat "$BIN" >"$WP" & a=$!; cat "$BIN" >"$WQ" & b=$!`, `
fd, h, n = os.open(P, os.O_RDONLY), hashlib.sha256(), 0
while b := os.read(fd, 1 << 20): h.update(b); n += len(b)
print(n, h.hexdigest())
import io
f, n, buf = io.FileIO(Q), 0, bytearray(10000)
while k := f.readinto(buf): n += k
print(n, f.seekable())`, `end $a p; end $b q`),
	inPython("readall", `cat "$BIN" >"$WP" & a=$!; cat "$IN" >"$WQ" & b=$!`, `
import io, pathlib
print(hashlib.sha256(io.FileIO(P).readall()).hexdigest())
print(hashlib.sha256(pathlib.Path(Q).read_bytes()).hexdigest())`, `end $a p; end $b q`),
	inPython("selectors", `(cat "$IN"; cat "$IN") >"$WP" & a=$!; cat "$BIN" >"$WQ" & b=$!`, `
s, got = selectors.DefaultSelector(), {P: hashlib.sha256(), Q: hashlib.sha256()}
fds = {}
for path in (P, Q):
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
    fds[fd] = path
    s.register(fd, selectors.EVENT_READ)
while fds:
    for key, _ in s.select():
        try: b = os.read(key.fd, 65536)
        except BlockingIOError: continue
        if b: got[fds[key.fd]].update(b)
        else: s.unregister(key.fd); del fds[key.fd]
print(got[P].hexdigest(), got[Q].hexdigest())`, `end $a p; end $b q`),
	inPython("selectors-write", `sha256sum <"$P" >"$OUT/p" & a=$!`, `
data = open(BIN, 'rb').read()
fd, s, at = os.open(WP, os.O_WRONLY), selectors.DefaultSelector(), 0
os.set_blocking(fd, False)
s.register(fd, selectors.EVENT_WRITE)
while at < len(data):
    s.select()
    try: at += os.write(fd, data[at:at + 100000])
    except BlockingIOError: pass
print(at)`, `end $a reader`),
	inPython("asyncio-add-reader", `cat "$IN" >"$WP" & a=$!`, `
import asyncio
async def main():
    loop, done, h = asyncio.get_running_loop(), asyncio.Event(), hashlib.sha256()
    fd = os.open(P, os.O_RDONLY | os.O_NONBLOCK)
    def ready():
        try: b = os.read(fd, 4096)
        except BlockingIOError: return
        if b: h.update(b); main.n += len(b)
        elif main.n: loop.remove_reader(fd); done.set()
    main.n = 0
    loop.add_reader(fd, ready)
    await asyncio.wait_for(done.wait(), 15)
    print(main.n, h.hexdigest())
asyncio.run(main())`, `end $a writer`),
	inPython("poll-states", ``, `
def poll(fd, events=select.POLLIN | select.POLLOUT):
    p = select.poll(); p.register(fd, events)
    names = ('POLLIN', 'POLLOUT', 'POLLERR', 'POLLHUP')
    return [n for _, e in p.poll(0) for n in names if e & getattr(select, n)]
def becomes(fd, *want):
    # A close tells the other end in its own time.
    for _ in range(500):
        if set(poll(fd)) >= set(want): break
        time.sleep(0.01)
    return poll(fd)
r = os.open(P, os.O_RDONLY | os.O_NONBLOCK)
print('no writer yet', poll(r), os.read(r, 10))
w = os.open(WP, os.O_WRONLY | os.O_NONBLOCK)
print('writer', poll(r), poll(w))
os.write(w, b'bytes'); print('bytes', poll(r), poll(w))
try:
    while True: os.write(w, bytes(65536))
except BlockingIOError: print('full', poll(r), poll(w))
os.close(w); print('hung up with bytes', becomes(r, 'POLLHUP'))
while os.read(r, 1 << 20): pass
print('hung up', poll(r), os.read(r, 10))
w = os.open(WP, os.O_WRONLY); print('writer again', poll(r), poll(w))
os.close(r); print('no reader', becomes(w, 'POLLERR'))
try: os.write(w, b'x')
except BrokenPipeError: print('EPIPE')`, ``),
	inPython("poll-wakes", `exec 3<>"$P"; (read -r _; echo woken >"$WP") <"$Q" & a=$!`, `
fd = os.open(P, os.O_RDONLY)
go = open(WQ, 'w'); go.write('go\n'); go.close()
print(select.select([fd], [], [], 10)[0] == [fd], os.read(fd, 100))
print(select.select([fd], [], [], 0.05))
e = select.epoll(); e.register(fd, select.EPOLLIN | select.EPOLLET)
print(e.poll(0.05)); os.write(3, b'x'); print(len(e.poll(10)), len(e.poll(0.05)), os.read(fd, 9))`, `end $a writer`),
	inPython("copyfileobj", `cat "$BIN" >"$WP" & a=$!; cat "$Q" >"$OUT/q" & b=$!`, `
import shutil
with open(P, 'rb') as i, open(OUT + '/p', 'wb') as o: shutil.copyfileobj(i, o)
with open(BIN, 'rb') as i, open(WQ, 'wb') as o: shutil.copyfileobj(i, o)`, `end $a p; end $b q`),
	inPython("sendfile", `exec 3<>"$P"; echo some bytes >&3`, `
i, o = os.open(P, os.O_RDONLY), os.open(OUT + '/o', os.O_WRONLY | os.O_CREAT)
try: print(os.sendfile(o, i, None, 100))
except OSError as e: print(errno.errorcode[e.errno])
print(os.read(i, 100))
t = os.open(IN, os.O_RDONLY); print(os.sendfile(3, t, 0, 30), os.read(i, 100))`, ``),
	inPython("tarfile-and-gzip", `mkdir "$TMP/a"; cp "$IN" "$TMP/a"; tar -czf "$WP" -C "$TMP" a & a=$!; gzip -c "$BIN" >"$WQ" & b=$!`, `
import gzip, tarfile
with tarfile.open(P, 'r|gz') as t: t.extractall(OUT, filter='data') if hasattr(tarfile, 'data_filter') else t.extractall(OUT)
with gzip.open(Q) as z: print(hashlib.sha256(z.read()).hexdigest())`, `wait $a; end $b gzip`),
	inPython("not-seekable", `exec 3<>"$P"`, `
fd = os.open(P, os.O_RDWR)
def tell(name, call):
    try: print(name, call())
    except OSError as e: print(name, errno.errorcode[e.errno])
tell('lseek', lambda: os.lseek(fd, 0, os.SEEK_CUR))
tell('end', lambda: os.lseek(fd, 0, os.SEEK_END))
tell('pread', lambda: os.pread(fd, 1, 0))
tell('pwrite', lambda: os.pwrite(fd, b'x', 0))
tell('fsync', lambda: os.fsync(fd))
tell('fdatasync', lambda: os.fdatasync(fd))
tell('fallocate', lambda: os.posix_fallocate(fd, 0, 10))
tell('write nothing', lambda: os.write(fd, b''))
tell('read nothing', lambda: os.read(fd, 0))`, ``),
	inPython("open-flags", ``, `
def tell(name, call):
    try: print(name, call())
    except OSError as e: print(name, errno.errorcode[e.errno])
tell('nonblocking writer alone', lambda: os.open(WP, os.O_WRONLY | os.O_NONBLOCK))
tell('exclusive', lambda: os.open(P, os.O_RDWR | os.O_CREAT | os.O_EXCL))
tell('directory', lambda: os.open(P, os.O_RDONLY | os.O_DIRECTORY))
tell('missing', lambda: os.open(P + 'x', os.O_RDONLY))
tell('below a pipe', lambda: os.open(P + '/x', os.O_RDONLY))
r = os.open(P, os.O_RDONLY | os.O_NONBLOCK); w = os.open(WP, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
tell('nothing there', lambda: os.read(r, 10))
tell('write', lambda: os.write(w, b'abc'))
tell('read on the writer', lambda: os.read(w, 1))
tell('write on the reader', lambda: os.write(r, b'x'))
os.set_blocking(r, True); tell('blocking again', lambda: os.read(r, 10))`, ``),
	inPython("vectors", `exec 3<>"$P"`, `
fd = os.open(P, os.O_RDWR)
print(os.writev(fd, [b'one ', b'', b'two ', b'three']))
bufs = [bytearray(3), bytearray(5), bytearray(100)]
n = os.readv(fd, bufs); print(n, b''.join(bufs)[:n])`, ``),
	inPython("nonblocking-atomicity", `exec 3<>"$P"`, `
fd = os.open(P, os.O_RDWR | os.O_NONBLOCK)
n = 0
try:
    while True: n += os.write(fd, bytes(4096))
except BlockingIOError: print('full', n % 4096)
os.read(fd, 4096)
print(os.write(fd, bytes(4096)))
try: print(os.write(fd, bytes(4096)))
except BlockingIOError: print('all or nothing')`, ``),
	inPython("interrupted-read", `exec 3<>"$P"`, `
import signal
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
fd = os.open(P, os.O_RDWR)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: os.read(fd, 1)
except Alarm: print('read interrupted')
os.set_blocking(fd, False)
try:
    while True: os.write(fd, bytes(65536))
except BlockingIOError: pass
os.set_blocking(fd, True)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: os.write(fd, bytes(4096))
except Alarm: print('write interrupted')
signal.setitimer(signal.ITIMER_REAL, 0.2)
try: os.open(Q, os.O_RDONLY)
except Alarm: print('open interrupted')`, ``),
	inPython("two-threads-one-descriptor", `exec 3<>"$P"`, `
import threading
fd, got = os.open(P, os.O_RDWR), []
def read():
    while len(b''.join(got)) < 3000000: got.append(os.read(fd, 65536))
t = threading.Thread(target=read); t.start()
data = open(BIN, 'rb').read()[:3000000]
at = 0
while at < len(data): at += os.write(fd, data[at:at + 50000])
t.join(); print(b''.join(got) == data)`, ``),
	inPython("fork-shares-end", `cat "$P" >"$OUT/o" & a=$!`, `
fd = os.open(WP, os.O_WRONLY)
for i in range(4):
    pid = os.fork()
    if pid == 0:
        os.write(fd, b'child %d\n' % i); os._exit(0)
    os.waitpid(pid, 0)
os.write(fd, b'parent\n')`, `end $a reader`),
}
