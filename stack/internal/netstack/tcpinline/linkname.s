// This empty file lets the compiler accept the body-less declarations of
// linkname_unsafe.go.
