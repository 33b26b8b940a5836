// SPDX-License-Identifier: Apache-2.0
module flashcore

go 1.18
