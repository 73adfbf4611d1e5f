"""The operations that programs are composed of, by the type of what they take."""
