# SPDX-License-Identifier: MIT
# scdoc begins a paragraph twice in many places. It shows nowhere, but mandoc would warn of each: drop those that begin nothing.
function flush() {
        if (pending && !after_heading)
                print ".PP"
        pending = 0
}
$0 == ".PP" || $0 == ".P" { pending = 1; next }
# A paragraph that was begun inside an indented block begins after it.
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
