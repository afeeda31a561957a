// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package cluster

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/zpipesfs/zpipesfs/integration/lab"
)

// The suites that compare a mount with kernel FIFOs, with writers on one host and
// readers on another.
func TestOracleAcrossHosts(t *testing.T) {
	hosts := newCluster(t, 2)
	suite(t, "../oracle", "ZPIPES_ORACLE_DIR="+hosts[1].Dir, "ZPIPES_ORACLE_DIR2="+hosts[0].Dir)
}

// suite runs another package's tests as they are built, in that package's folder.
func suite(t *testing.T, dir string, env ...string) {
	t.Helper()
	binary := filepath.Join(lab.Dir(t), "suite.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c %s: %v\n%s", dir, err, out)
	}
	at, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := lab.Run(t, 15*time.Minute, lab.Command{Args: []string{"sh", "-c", `cd "$0" && exec "$1"`, at, binary}, Env: env})
	if r.Status != "exit 0" || r.Hung != "" || r.Stray != "" {
		t.Errorf("%s\n%s%s%s%s", r.Status, r.Hung, r.Stray, r.Stdout, r.Stderr)
	}
}
