# YAML (the part of it that cloud configuration uses) and JSON to lines `path.to.value=text`, for the shell.
# In texts a backslash is written \\ and the end of a line \n, as printf's %b reads them.
{ sub(/\r$/, ""); line[NR] = $0 }
END {
    i = 1
    skip()
    if (i > NR) exit
    if (line[i] ~ /^[ \t]*[[{]/) flow_value("", joined(line[i])); else block("", indent(line[i]))
}
function indent(s) { match(s, /^ */); return RLENGTH }
function trim(s) { sub(/^[ \t]+/, "", s); sub(/[ \t]+$/, "", s); return s }
function skip() { while (i <= NR && line[i] ~ /^[ \t]*(#.*|---[ \t]*|\.\.\.[ \t]*)?$/) i++ }
function under(path, key) { return path == "" ? key : path "." key }
function emit(path, text) { gsub(/\\/, "\\\\", text); gsub(/\n/, "\\n", text); print path "=" text }
function spaces(n,    s) { while (n-- > 0) s = s " "; return s }
# a scalar without its quotes, or without the comment behind it
function scalar(s,    q, k, c, out) {
    s = trim(s)
    q = substr(s, 1, 1)
    if (q != "\"" && q != "'") { sub(/[ \t]+#.*$/, "", s); return (s == "~" || s == "null") ? "" : s }
    for (k = 2; k <= length(s); k++) {
        c = substr(s, k, 1)
        if (q == "'" && c == "'" && substr(s, k + 1, 1) == "'") { out = out "'"; k++; continue }
        if (c == q) break
        if (q == "\"" && c == "\\") {
            c = substr(s, ++k, 1)
            if (c == "n") c = "\n"; else if (c == "t") c = "\t"
        }
        out = out c
    }
    return out
}
# where the key of `key: value` ends, or 0
function colon(s,    k, c, q) {
    if (s ~ /^[[{|>]/) return 0
    q = substr(s, 1, 1)
    k = 1
    if (q == "\"" || q == "'") { k = index(substr(s, 2), q) + 2 } else q = ""
    for (; k <= length(s); k++) {
        c = substr(s, k, 1)
        if (c == "#" && q == "" && k > 1 && substr(s, k - 1, 1) == " ") return 0
        if (c == ":" && (k == length(s) || substr(s, k + 1, 1) ~ /[ \t]/)) return k
    }
    return 0
}
function block(path, ind,    s, n, k, key, list) {
    n = 0
    list = -1
    while (1) {
        skip()
        if (i > NR || indent(line[i]) != ind) return
        s = substr(line[i], ind + 1)
        k = (s ~ /^-([ \t]|$)/)
        if (list >= 0 && k != list) return
        list = k
        if (list) {
            match(s, /^-[ \t]*/)
            k = RLENGTH
            if (k == length(s)) { i++; skip(); if (indent(line[i]) > ind) block(under(path, n), indent(line[i])) }
            else if (colon(substr(s, k + 1))) { line[i] = spaces(ind + k) substr(s, k + 1); block(under(path, n), ind + k) }
            else if (substr(s, k + 1) ~ /^-[ \t]/) { line[i] = spaces(ind + k) substr(s, k + 1); block(under(path, n), ind + k) }
            else { i++; value(under(path, n), substr(s, k + 1), ind) }
            n++
        } else {
            k = colon(s)
            i++
            if (!k) continue
            key = scalar(substr(s, 1, k - 1))
            s = trim(substr(s, k + 1))
            if (s == "" || s ~ /^#/) {
                skip()
                if (i <= NR && (indent(line[i]) > ind || (indent(line[i]) == ind && substr(line[i], ind + 1) ~ /^-([ \t]|$)/)))
                    block(under(path, key), indent(line[i]))
            } else value(under(path, key), s, ind)
        }
    }
}
function value(path, s, ind) {
    s = trim(s)
    if (s ~ /^[|>]/) text(path, s, ind)
    else if (s ~ /^[[{]/) flow_value(path, joined(s))
    else emit(path, scalar(s))
}
# a block of literal (|) or folded (>) text; + and - say what becomes of the line ends behind it
function text(path, how, ind,    out, first, s, k) {
    first = -1
    for (; i <= NR; i++) {
        if (line[i] ~ /^[ \t]*$/) { out = out "\n"; continue }
        if (indent(line[i]) <= ind) break
        if (first < 0) first = indent(line[i])
        s = substr(line[i], first + 1)
        if (how ~ /^>/ && out != "" && out !~ /\n\n$/) sub(/\n$/, " ", out)
        out = out s "\n"
    }
    if (how !~ /\+/) { sub(/\n+$/, "", out); if (how !~ /-/ && out != "") out = out "\n" }
    emit(path, out)
}
# a flow value may go on over several lines: all of it in one string
function joined(s) {
    if (line[i] == s) i++
    while (!balanced(s) && i <= NR) s = s " " trim(line[i++])
    return s
}
function balanced(s,    k, c, q, depth) {
    for (k = 1; k <= length(s); k++) {
        c = substr(s, k, 1)
        if (q != "") { if (c == "\\" && q == "\"") k++; else if (c == q) q = ""; continue }
        if (c == "\"" || c == "'") q = c
        else if (index("[{", c)) depth++
        else if (index("]}", c)) depth--
    }
    return depth <= 0
}
# the position of the end of the item that begins at k: a comma or bracket outside of quotes and brackets
function item_end(s, k,    c, q, depth) {
    for (; k <= length(s); k++) {
        c = substr(s, k, 1)
        if (q != "") { if (c == "\\" && q == "\"") k++; else if (c == q) q = ""; continue }
        if (c == "\"" || c == "'") q = c
        else if (index("[{", c)) depth++
        else if (index("]}", c)) { if (depth == 0) return k; depth-- }
        else if (c == "," && depth == 0) return k
    }
    return k
}
function flow_value(path, s,    kind, k, e, item, n, c) {
    s = trim(s)
    kind = substr(s, 1, 1)
    if (kind != "[" && kind != "{") { emit(path, scalar(s)); return }
    n = 0
    for (k = 2; k <= length(s); k = e + 1) {
        e = item_end(s, k)
        item = trim(substr(s, k, e - k))
        if (item != "") {
            if (kind == "[") flow_value(under(path, n++), item)
            else {
                c = colon(item)
                if (!c) c = json_colon(item)
                if (c) flow_value(under(path, scalar(substr(item, 1, c - 1))), substr(item, c + 1))
            }
        }
        if (e <= length(s) && index("]}", substr(s, e, 1))) return
    }
}
function json_colon(s,    k) {
    if (substr(s, 1, 1) != "\"") return 0
    k = index(substr(s, 2), "\"") + 2
    return substr(s, k, 1) == ":" ? k : 0
}
