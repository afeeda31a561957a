// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package hangs

import (
	"fmt"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// TestLongRequests sends the longest requests there are besides writes; the mount
// refuses or serves them and goes on.
func TestLongRequests(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("kernel FIFOs have no daemon")
	}
	f := newFolder(t, lab.NewMount(t))
	f.must(`python3 -c '
import os, sys
p = sys.argv[1]
def refused(what, *args):
    try:
        what(*args)
    except OSError as e:
        return e.errno
    sys.exit("not refused: %r" % (args[1:2],))
refused(os.setxattr, p, "user." + "n" * 200, b"v" * 65536)
refused(os.setxattr, p, "user.zpipes.mode", b"v" * 65536)
refused(os.setxattr, p, "user.zpipes.mode", b"fifo", os.XATTR_CREATE)
refused(os.stat, os.path.join(os.path.dirname(p), "n" * 300))
refused(os.mkfifo, p + "x" * 250)
assert os.getxattr(p, "user.zpipes.mode") == b"fifo"
' "$P"`)
	f.passes()
}

// TestManyForgets has the kernel forget thousands of pipes at once, in requests as
// long as it can make them.
func TestManyForgets(t *testing.T) {
	if !lab.Mounted() {
		t.Skip("kernel FIFOs have no daemon")
	}
	m := lab.NewMount(t)
	f := newFolder(t, m)
	script := `mkdir "$D/many"
mkfifo "$D"/many/{1..12000}
stat "$D"/many/{1..12000} >/dev/null
kill -STOP $DAEMON
echo 2 >/proc/sys/vm/drop_caches
kill -CONT $DAEMON
rm -r "$D/many"`
	r := lab.Run(t, time.Minute, lab.Shell("bash", script, append(f.env(), fmt.Sprint("DAEMON=", m.PID()))...))
	if r.Status != "exit 0" {
		t.Error(r)
	}
	f.passes()
}

// TestKilledWriterLetsOthersPass kills a process whose write waits with another's
// behind it that has room: to take the one back completes the other.
func TestKilledWriterLetsOthersPass(t *testing.T) {
	f := newFolder(t, lab.NewMount(t))
	f.must(`python3 -c '
import os, subprocess, sys, time
p = sys.argv[1]
fd = os.open(p, os.O_RDWR | os.O_NONBLOCK)
try:
    while os.write(fd, b"x" * 4096):
        pass
except BlockingIOError:
    pass
if len(sys.argv) > 2:
    os.read(fd, 100)

def writer(size):
    w = subprocess.Popen(["dd", "if=/dev/zero", "of=" + p, "bs=%d" % size, "count=1", "conv=notrunc", "status=none"])
    deadline = time.monotonic() + 2
    while open("/proc/%d/syscall" % w.pid).read().split()[0] != "1":
        if time.monotonic() > deadline:
            sys.exit("the writer does not write")
    return w

first, second = writer(4096), writer(50)
first.kill()
first.wait(2)
if len(sys.argv) > 2:
    second.wait(2)
second.kill()
second.wait(2)
' "$P" ` + room())
	f.passes()
}

// room is an argument that has the test take 100 bytes out of the full pipe. A
// kernel FIFO counts pages: room for a short write is room for both.
func room() string {
	if lab.Mounted() {
		return "room"
	}
	return ""
}
