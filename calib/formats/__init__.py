"""Which exponents and widths: from measurements to an artifact whose accumulators are proved."""
