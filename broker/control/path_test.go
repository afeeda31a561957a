// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"encoding/json"
	"testing"
)

func TestPathText(t *testing.T) {
	for path, want := range map[Path]string{
		"jobs/1": `"jobs/1"`, "50%": `"50%25"`, "q\xff\xfe": `"q%FF%FE"`, "ä\n": `"ä\n"`, "": `""`, "\uFFFD": `"` + "\uFFFD" + `"`,
	} {
		if got, err := json.Marshal(path); err != nil || string(got) != want {
			t.Errorf("%q is %s, %v; want %s", path, got, err, want)
		}
	}
	var p Path
	if err := json.Unmarshal([]byte(`"%zz"`), &p); err == nil {
		t.Error(`"%zz" was taken`)
	}
}

func FuzzPath(f *testing.F) {
	f.Add("a/b%\xff")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(Path(s))
		if err != nil {
			t.Fatal(err)
		}
		var back Path
		if err := json.Unmarshal(b, &back); err != nil || string(back) != s {
			t.Errorf("%q became %s became %q, %v", s, b, back, err)
		}
	})
}
