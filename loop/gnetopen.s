// Go lets functions without a body stand only in packages with assembly.
