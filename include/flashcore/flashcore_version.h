/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place where the version stands. The build reads it for the soname, flashcore_version() returns it.
 */
#ifndef FLASHCORE_VERSION_H
#define FLASHCORE_VERSION_H

#define FLASHCORE_VERSION_MAJOR 1
#define FLASHCORE_VERSION_MINOR 0
#define FLASHCORE_VERSION_PATCH 0

/* One comparable number: 1.2.3 is 10203. */
#define FLASHCORE_VERSION (FLASHCORE_VERSION_MAJOR * 10000 + FLASHCORE_VERSION_MINOR * 100 + FLASHCORE_VERSION_PATCH)

#endif
