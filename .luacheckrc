std = "min"
max_line_length = 110
files["spec/**/*.lua"] = { std = "min+busted" }
files["spec/rockspec_spec.lua"] = { std = "lua54+busted" }
files["spec/manual/*.lua"] = { std = "lua54+busted" }
files["tools/*"] = { std = "lua54" }
files["bench/**/*.lua"] = { std = "max" }
files["examples/*_spec.lua"] = { std = "min+busted" }
files["rockspec/*.rockspec"] = { std = "max", ignore = { "111" } }
