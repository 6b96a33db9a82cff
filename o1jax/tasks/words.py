"""Common English words of one to ten letters, to write sentences from. 'strawberry' is left out
because it is a test."""

WORDS = tuple(
  """
a able about above across act add after again age ago agree air all allow alone along also always
among an and animal another answer any apple are area arm army around arrive art as ask at away baby
back bad bag ball bank base basket be beach bear beautiful because become bed before begin behind
believe bell below best better between big bird black blood blue board boat body bone book both
bottle bottom box boy branch bread break breakfast bridge bright bring brother brown build bus
business busy but buy by call camera can car card care carry case cat catch center chair chance
change chapter cheap check child choose church circle city class clean clear climb clock close cloth
cloud coat coffee cold color come common company complete control cook cool copy corn corner correct
cost cotton count country course cover cross crowd cry cup cut dance danger dark daughter day dead
deal dear decide deep desk different difficult dinner direction discover do doctor dog door double
down draw dream dress drink drive drop dry during each ear early earth east easy eat edge egg eight
electric else empty end energy engine enjoy enough enter equal even evening event ever every example
except excite exercise expect eye face fact fall family famous far farm fast father favor fear feed
feel few field fight figure fill final find fine finger finish fire first fish five flat floor flow
flower fly follow food foot for force forest forget form forward found four free fresh friend from
front fruit full fun future game garden gate general gentle get girl give glad glass go gold good
government grand grass gray great green ground group grow guess hair half hand happen happy hard hat
have he head hear heart heat heavy help her here hide high hill him history hold hole home honest
hope horse hospital hot hour house how hundred hungry hurry hurt i ice idea if important in inch
industry insect instant interest iron island it job join joke journey judge juice jump just keep key
kind king kitchen knee knife know knowledge lady lake land language large last late laugh law lead
learn leave left leg lesson let letter level library lie life light like line lion list listen
little live long look lose lost lot loud love low luck lunch machine magic mail main make man many
map mark market matter may me measure meat meet member message metal method middle might mile milk
million mind minute mirror miss mix modern moment money month moon more morning most mother mountain
mouth move much music must my name narrow nation natural near neck need never new news next nice
night nine no noise north nose not note notebook nothing notice number object ocean of off offer
office often oil old on once one only open opposite or orange order other our out outside over own
page paint pair paper parent park part party pass past path pattern pay peace pencil people perfect
perhaps period person picture piece place plan plane planet plant play please pocket poem point
police poor position possible post potato pound power practice present press pretty price print
problem produce promise property protect proud provide public pull push put quality quarter queen
question quick quiet quite race radio rain raise reach read ready real reason receive record red
region remember repeat reply report rest result return rice rich ride right ring rise river road
rock roll roof room root rope rose round row rule run sad safe sail salt same sand save say scale
school science sea season seat second secret see seed seem sell send sense sentence set seven
several shape share sharp she sheep shine ship shirt shoe shop short should shoulder show side sign
silver simple since sing sister sit six size skill skin sky sleep slow small smell smile smooth snow
so soap soft soldier solve some son song soon sound soup south space speak special speed spell spend
spoon spring square stand star start state station stay steel step stick still stone stop store
storm story straight strange street strong student study such sudden sugar suit summer sun support
sure surface surprise sweet swim system table tail take talk tall taste tea teach team tell temple
ten test than thank that the their them then there these they thick thin thing think third this
those thought thousand three through throw ticket time tiny to today together tomorrow tool tooth
top total touch toward town track trade train travel tree triangle trip trouble true try turn twelve
twenty two type umbrella uncle under understand unit until up us use usual valley value vegetable
very view village visit voice vowel wait walk wall want war warm wash watch water wave way we weak
wear weather week weight well west wheel when where which while white who whole why wide wife wild
will win wind window winter wire wise wish with woman wonder wood word work world worry write wrong
yard year yellow yes yesterday yet you young zero """.split()
)
