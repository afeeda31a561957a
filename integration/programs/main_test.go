// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Package programs runs unmodified programs on pipes, once in a directory of
// kernel FIFOs and once in a zpipes mount, and compares what they did. Then it does
// so with the writers on one host of a cluster and the readers on another.
package programs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// roleVariable makes a copy of the test binary something else than the test.
const roleVariable = "ZPIPES_PROGRAMS_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "agree" {
		if err := lab.NewAgreement(os.Getenv("NAMESPACE"), os.Getenv("D"), os.Getenv("WD")).Wait(); err != nil {
			fmt.Println("the hosts do not agree:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(lab.Main(m, programs...))
}

// programs are what the scripts call; packages.txt names the Debian packages
// that hold them.
var programs = strings.Fields(`
	bash sh busybox awk gawk mawk bc bzip2 cat cmp comm cp cpio cut dd df diff
	file find flock fold funzip getfattr git grep gunzip gzip head join jq
	md5sum mkfifo nc nl node od openssl paste patch perl pv python3 sed
	setfattr seq setsid sha256sum shuf socat sort split sqlite3 stat stdbuf tac
	tail tar tee timeout tr uniq wc xargs xxd xz yes zip zstd go`)

// input is the folder that holds what the scripts read: text of 4000 lines and
// some 200 KB, and 3 MiB of noise.
type input struct{ text, noise string }

// newInput makes the same bytes each time.
func newInput(t *testing.T) input {
	t.Helper()
	dir := lab.Dir(t)
	in := input{filepath.Join(dir, "text"), filepath.Join(dir, "noise")}
	words := strings.Fields("pipe reader writer end broker peer chunk credit home fifo exclusive fanout")
	random := rand.NewChaCha8([32]byte{7})
	pick := rand.New(random)
	var text bytes.Buffer
	for i := range 4000 {
		fmt.Fprintf(&text, "%06d", i)
		for range 4 + pick.IntN(6) {
			fmt.Fprintf(&text, " %s", words[pick.IntN(len(words))])
		}
		fmt.Fprintf(&text, " %d\n", pick.IntN(1000))
	}
	noise := make([]byte, 3<<20)
	if _, err := random.Read(noise); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{in.text: text.Bytes(), in.noise: noise} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return in
}
