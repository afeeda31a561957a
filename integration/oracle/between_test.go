// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package oracle

import "maps"

// betweenHosts are the differences that there are besides between the ends of a pipe on
// two hosts.
func betweenHosts() map[string]difference {
	return map[string]difference{}
}

// known are all differences of a pipe with its ends on two hosts.
func known() map[string]difference {
	all := differences()
	maps.Copy(all, betweenHosts())
	return all
}
