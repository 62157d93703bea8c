# SPDX-License-Identifier: MIT
# Drops the paragraph macros of scdoc that begin no text. They change nothing in the output, but mandoc warns of each.
function flush() {
        if (pending && !after_heading)
                print ".PP"
        pending = 0
}
$0 == ".PP" || $0 == ".P" { pending = 1; next }
# The pending paragraph macro goes behind the end of an indented block.
$1 == ".RE" { print; next }
/^\.(SH|SS|RS|TH)/ {
        pending = 0
        after_heading = ($1 == ".SH" || $1 == ".SS")
        print
        next
}
{
        flush()
        after_heading = 0
        print
}
